"""Generate members, the same ones for the same seed. The first three are the sample of the README.

python members.py 1000 > members.json
python members.py 1000 --bucket BUCKET --key input/members.json
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any

SAMPLE = (
    ("長野原 ひろし", 4, 58, "2021-05-16"),
    ("般若 竜門", 2, 75, "2021-07-19"),
    ("十河 アンナ", 2, 57, "2021-09-06"),
)
FAMILY = (
    *("佐藤", "鈴木", "高橋", "田中", "伊藤", "渡辺", "山本", "中村", "小林", "加藤", "吉田", "山田", "佐々木", "松本"),
    *("井上", "木村", "斎藤", "清水", "森", "髙島", "﨑山", "辻󠄀"),
)
GIVEN = (
    *("蓮", "湊", "陽翔", "樹", "悠真", "さくら", "葵", "凛", "陽菜", "結衣", "美咲", "ひかり", "ゆうき", "健太"),
    *("翔太", "直樹", "エミ", "リサ", "ケン", "七海", "千尋", "薫"),
)


def members(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield members one by one."""
    chance = random.Random(seed)  # noqa: S311 - test data
    for number in range(count):
        generated = (
            f"{chance.choice(FAMILY)} {chance.choice(GIVEN)}",
            chance.randint(1, 5),
            chance.randint(50, 100),
            str(dt.date(2021, 1, 1) + dt.timedelta(days=chance.randrange(365))),
        )
        name, rank, points, date = SAMPLE[number] if number < len(SAMPLE) else generated
        yield {
            "会員番号": f"{number:03}",
            "名前": name,
            "会員ランク": rank,
            "ポイント": points,
            "タイムスタンプ": date,
        }


def write(count: int, seed: int, file: IO[bytes]) -> None:
    """Write members as one JSON array, one per line, with constant memory."""
    file.write(b"[")
    for number, member in enumerate(members(count, seed)):
        file.write(b",\n" if number else b"\n")
        file.write(json.dumps(member, ensure_ascii=False).encode())
    file.write(b"\n]\n")


def main() -> None:
    """Write to standard output, or upload to S3."""
    parser = argparse.ArgumentParser(description="Generate members.")
    parser.add_argument("count", type=int, nargs="?", default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bucket", help="upload the members to this bucket")
    parser.add_argument("--key", default="input/members.json", help="key of the uploaded object")
    arguments = parser.parse_args()
    if arguments.bucket is None:
        write(arguments.count, arguments.seed, sys.stdout.buffer)
        return
    import boto3

    with tempfile.TemporaryFile() as file:
        write(arguments.count, arguments.seed, file)
        file.seek(0)
        boto3.client("s3").upload_fileobj(file, arguments.bucket, arguments.key)


if __name__ == "__main__":
    main()
