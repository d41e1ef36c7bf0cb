"""CSV files as people have them, how they are declared, and what ``S3Lines`` makes of them."""
# ruff: noqa: RUF001 - letters of many alphabets

import csv
import io
from typing import Any, NamedTuple


class Case(NamedTuple):
    """A file, its declaration, and the outcome."""

    name: str
    data: bytes
    settings: dict[str, Any] = {}  # noqa: RUF012 - never changed
    refusal: str = ""
    """Part of the error; empty if the file is read as Python's csv module reads it."""
    cut_refusal: str = ""
    """Part of the error if the object is cut; empty if it is then read, too."""
    key: str = "o.csv"


ORDERS = "id;name;price\n7;Müller;1,50\n8;Öz, Ay;2,75\n9;Ærø;3,00\n"
JAPANESE = "番号,品名,表\n1,表示ソフト,予約|能力\n2,ソート,十\n3,ポ|ー,暴\n"
NEWLINES = 'id,note\n1,"one\ntwo"\n2,plain\n3,"three\n\nfour, ""five"""\n'
PIPE = "a|b|c\n1|2|3\n4|5|6\n"
NO_HEADER = "7,ann,2024-01-31\n8,bob,2024-02-01\n"
COLUMNS = {"columns": ["id", "name", "day"]}
UNKNOWN = "its quotes do not enclose whole fields; if rows span lines, specify quoted_newlines=True"
NO_END = "where the next row begins is unclear"

READ = [
    Case("comma", b"a,b\n1,2\n3,4\n"),
    Case("crlf", b"a,b\r\n1,2\r\n3,4\r\n"),
    Case("mixed ends", b"a,b\r\n1,2\n3,4\r\n5,6"),
    Case("no final end", b"a,b\n1,2\n3,4"),
    Case("final cr", b"a,b\n1,2\r"),
    Case("bom", b"\xef\xbb\xbfa,b\n1,2\n"),
    Case("blank lines", b"a,b\n\n1,2\n\r\n3,4\n\n"),
    Case("empty fields", b"a,b,c\n,,\n1,,3\n,2,\n"),
    Case("one column", b"a\n1\n2\n\n3\n"),
    Case("all quoted", b'"a","b"\n"1","2"\n"x, y","z"\n'),
    Case("doubled quotes", b'a,b\n"yes ""no""",1\n"""",2\n"",3\n'),
    Case("quoted header", b'"a, b","c"\n1,2\n'),
    Case("spaces kept", b"a,b\n 1 , 2\n"),
    Case("nul", b"a,b\n1,x\x00y\n"),
    Case("control", b"a,b\n1,x\x0by\x0c\x1c\x1d\x85z\n".replace(b"\x85", "\u0085\u2028".encode())),
    Case("emoji", "a,b\n1,🜁\n2,日本語\n".encode()),
    Case("long field", b"a,b\n1," + b"x" * 200_000 + b"\n2,y\n"),
    Case("wide", b",".join(b"c%dx" % n for n in range(300)) + b"\n" + b",".join([b"1"] * 300) + b"\n"),
    Case("cr in quotes", b'a,b\n"x\ry",1\n'),
    Case("number columns", b"country,2019,2020\nDE,1,2\n", {"header": True}),
    Case("pipe column", b"a|b\n1\n2\n", {"columns": ["a|b"]}),
    Case("tsv", b"a\tb\n1\t2, 3\n", key="o.tsv"),
    Case("tsv upper case", b"a\tb\n1\t2\n", key="O.TSV"),
    Case("psv", b"a|b\n1|2\n", key="o.psv"),
    Case("semicolon", ORDERS.encode(), {"delimiter": ";"}),
    Case("semicolon cp1252", ORDERS.encode("cp1252"), {"delimiter": ";", "encoding": "cp1252"}),
    Case("semicolon latin-1", ORDERS.encode("latin-1"), {"delimiter": ";", "encoding": "latin-1"}),
    Case("mac roman", ORDERS.encode("mac-roman"), {"delimiter": ";", "encoding": "mac-roman"}),
    Case("cyrillic", "имя,цена\nЯна,1\nИван,2\n".encode("cp1251"), {"encoding": "cp1251"}),
    Case("koi8", "имя,цена\nЯна,1\nИван,2\n".encode("koi8-r"), {"encoding": "koi8-r"}),
    Case("greek", "α,β\n1,λόγος\n".encode("iso8859-7"), {"encoding": "iso8859-7"}),
    Case("cp932", JAPANESE.encode("cp932"), {"encoding": "cp932"}),
    Case(
        "cp932 pipe", JAPANESE.replace("|", "-").replace(",", "|").encode("cp932"), {"encoding": "cp932"}, key="o.psv"
    ),
    Case("shift_jis", JAPANESE.encode("shift_jis"), {"encoding": "shift_jis"}),
    Case("euc_jp", JAPANESE.encode("euc_jp"), {"encoding": "euc_jp"}),
    Case("iso2022_jp", JAPANESE.encode("iso2022_jp"), {"encoding": "iso2022_jp"}),
    Case("gb18030", "名,价\n中文,1\n㐀|𠀀,2\n".encode("gb18030"), {"encoding": "gb18030"}),
    Case("gbk", "名,价\n中文,1\n".encode("gbk"), {"encoding": "gbk"}),
    Case("big5", "名,價\n功能,1\n許|蓋,2\n".encode("big5"), {"encoding": "big5"}),
    Case("euc_kr", "이름,값\n한글,1\n".encode("euc_kr"), {"encoding": "euc_kr"}),
    Case("utf-16", NEWLINES.encode("utf-16"), {"encoding": "utf-16"}),
    Case("utf-16-le", ORDERS.encode("utf-16-le"), {"encoding": "utf-16-le", "delimiter": ";"}),
    Case("utf-16-be bom", ("\ufeff" + ORDERS).encode("utf-16-be"), {"encoding": "utf-16-be", "delimiter": ";"}),
    Case("utf-32", JAPANESE.encode("utf-32"), {"encoding": "utf-32"}),
    Case("utf-7", "a,b\n1,日本\n".encode("utf-7"), {"encoding": "utf-7"}),
    Case("ebcdic", b"a,b\n1,2\n".decode().encode("cp500"), {"encoding": "cp500"}),
    Case("other quote", b"a,b\n'x, y',1\n'it''s',\"2\n", {"quotechar": "'"}),
    Case("no quotes", b'a\tb\n5" pipe\t"x\n"y\t6"\n', {"quotechar": None}, key="o.tsv"),
    Case("quote as text", b'a,b\n5" x 6" pipe,1\n', {"quoted_newlines": False}),
    Case("hash delimiter", b"a#b\n1#2\n", {"delimiter": "#"}),
    Case("wide delimiter", "a¦b\n1¦2\n".encode(), {"delimiter": "¦"}),
    Case("no header", NO_HEADER.encode(), COLUMNS),
    Case("no header, declared", b"name,city\nann,bonn\n", {"columns": ["n", "c"], "header": False}),
    Case("named header", b"name,id\nann,1\n", {"columns": ["id", "name", "day"]}),
    Case("newlines scanned", NEWLINES.encode(), {"quoted_newlines": True}),
    Case("crlf in quotes scanned", NEWLINES.replace("\n", "\r\n").encode(), {"quoted_newlines": True}),
    Case("newlines cp932", 'a,b\n1,"表\n十"\n2,"ソ"\n'.encode("cp932"), {"encoding": "cp932", "quoted_newlines": True}),
    Case("newlines", NEWLINES.encode(), cut_refusal=UNKNOWN),
    Case("crlf in quotes", NEWLINES.replace("\n", "\r\n").encode(), cut_refusal=UNKNOWN),
    Case("long newlines", b'a,b\n"' + b"x\n" * 500 + b'",1\n2,3\n', cut_refusal=UNKNOWN),
    Case("csv in csv", b'a,b\n"x,""y""\n1,2\n3,4\n",1\n2,3\n', cut_refusal=UNKNOWN),
    Case("even quotes", b'a,b,c\n5" pipe,"long\ntext",6" wide\n', cut_refusal=UNKNOWN),
    Case("quotes as text", b'a,b\n5" x 6" pipe,1\nx,2\n', cut_refusal=UNKNOWN),
    Case("newline in header", b'a,"b\nc"\n1,2\n3,4\n'),
    Case("space before quote", b'a,b\n1, "x"\n2,3\n', cut_refusal=UNKNOWN),
]
"""Files that are read."""

REFUSED = [
    Case("pipe", PIPE.encode(), refusal="specify delimiter='|'"),
    Case("semicolon undeclared", ORDERS.encode(), refusal="specify delimiter=';'"),
    Case("tab", b"a\tb\n1\t2\n", refusal=r"specify delimiter='\t'"),
    Case("semicolon, all quoted", b'"a";"b"\n"1";"2"\n', refusal="do not enclose its fields with delimiter=','"),
    Case("tab, all quoted", b'"a"\t"b"\n"1"\t"2"\n', refusal=r"specify delimiter='\t'"),
    Case("quoted, declared", b'"7"|"a"\n', {"columns": ["id", "name"]}, "specify delimiter='|'"),
    Case("hive", b"a\x01b\n1\x012\n", refusal=r"specify delimiter='\x01'"),
    Case("caret", b"a^b\n1^2\n", refusal="specify delimiter='^'"),
    Case("comma in tsv", b"a,b\n1,2\n", refusal="specify delimiter=','", key="o.tsv"),
    Case("decimal comma", b"n;a, b;c\nx;1,5;2\ny;2,5;3\n", refusal="specify delimiter=';'"),
    Case("pipe, other quote", PIPE.encode(), {"quotechar": ";"}, "specify delimiter='|'"),
    Case("excel undeclared", b"sep=;\r\na;b\r\n1;2\r\n", refusal="states another delimiter: specify delimiter=';'"),
    Case("wrong delimiter", b"a,b\n1,2\n", {"delimiter": ";"}, "specify delimiter=','"),
    Case("no header undeclared", NO_HEADER.encode(), refusal="specify columns="),
    Case("no header, text", b"ann,bonn\nbob,bonn\n", refusal="specify columns="),
    Case("no header, address", b"ann,a@b.org\nbob,c@d.org\n", refusal="specify columns="),
    Case("no header, one row", b"7,ann\n", refusal="specify columns="),
    Case("no header, too many columns", NO_HEADER.encode(), {"columns": ["id", "name"]}, "columns= has 2 names"),
    Case("no header, pipes", b"7|ann\n", {"columns": ["id", "name"]}, "specify delimiter='|'"),
    Case("header taken as row", b"nr,who\n7,ann\n8,bob\n", {"columns": ["id", "name"]}, "looks like a header"),
    Case("header partly known", b"id,who\n7,ann\n", {"columns": ["id", "name"]}, "not in columns=: add it"),
    Case("header unknown", b"id,who\n7,ann\n", {"columns": ["id"], "header": True}, "'who', which is not in columns="),
    Case("years", b"country,2019,2020\nDE,1,2\n", refusal="or header=True if line 1 is the header"),
    Case("twice", b"a,b,a\n1,2,3\n", refusal="has the column 'a' twice"),
    Case("twice, named", b"a,b,a\n1,2,3\n", {"columns": ["a", "b"]}, "has a column twice"),
    Case("no names", b",,\n1,2,3\n", refusal="line 1 is empty"),
    Case("blank first", b"\na,b\n1,2\n", refusal="line 1 is empty"),
    Case("cp932 as utf-8", JAPANESE.encode("cp932"), refusal="specify encoding="),
    Case("cp1252 as utf-8", ORDERS.encode("cp1252"), {"delimiter": ";"}, "specify encoding="),
    Case("utf-8 as cp1252", JAPANESE.encode(), {"encoding": "cp1252"}, "specify encoding='utf-8'"),
    Case("bom as cp1252", b"\xef\xbb\xbfa,b\n1,2\n", {"encoding": "cp1252"}, "specify encoding='utf-8'"),
    Case("utf-16 as utf-8", NEWLINES.encode("utf-16"), refusal="specify encoding='utf-16'"),
    Case("utf-16-le as utf-8", NEWLINES.encode("utf-16-le"), refusal="specify encoding='utf-16-le'"),
    Case("utf-16-be as latin-1", NEWLINES.encode("utf-16-be"), {"encoding": "latin-1"}, "encoding='utf-16-be'"),
    Case("utf-16-be as utf-16-le", JAPANESE.encode("utf-16-be"), {"encoding": "utf-16-le"}, "encoding='utf-16-be'"),
    Case("utf-16-le as utf-16-be", NEWLINES.encode("utf-16-le"), {"encoding": "utf-16-be"}, "encoding='utf-16-le'"),
    Case("utf-16-be without a mark", NEWLINES.encode("utf-16-be"), {"encoding": "utf-16"}, "encoding='utf-16-be'"),
    Case("utf-32 as utf-16", NEWLINES.encode("utf-32"), {"encoding": "utf-16"}, "specify encoding='utf-32'"),
    Case("iso2022_jp as utf-8", JAPANESE.encode("iso2022_jp"), refusal="specify encoding='iso2022_jp'"),
    Case("iso2022_kr as cp949", "이름,값\n한글,1\n".encode("iso2022_kr"), {"encoding": "cp949"}, "'iso2022_kr'"),
    Case("utf-8 as utf-16", NEWLINES.encode(), {"encoding": "utf-16"}, "specify encoding='utf-8'"),
    Case("half a character", "a,b\n1,表\n".encode()[:-2] + b"\n2,3\n", refusal="line 2 near byte 4: "),
    Case("half a cp932", b"a,b\n1,\x95\n2,3\n", {"encoding": "cp932"}, "line 2 near byte 4: "),
    Case("surrogate", "a,b\n1,\ud83d\n".encode("utf-8", "surrogatepass"), refusal="line 2 near byte 4: "),
    Case(
        "surrogate in utf-16",
        "a,b\n1,\ud83d\n2,3\n".encode("utf-16-le", "surrogatepass"),
        {"encoding": "utf-16-le"},
        "line 2",
    ),
    Case("odd utf-16", "a,b\n1,2\n".encode("utf-16-le") + b"x", {"encoding": "utf-16-le"}, "truncated data"),
    Case("cr only", b"a,b\r1,2\r3,4\r", refusal="lines end with CR (0x0D) alone"),
    Case("cr inside", b"a,b\n1,2\r3,4\n", refusal="lines must end with LF or CR LF, not with CR (0x0D)"),
    Case("short row", b"a,b\n1,2\n3\n", refusal="the row has 1 fields, but the header has 2"),
    Case("long row", b"a,b\n1,2,3\n", refusal="to continue without such rows, specify on_bad_row="),
    Case("open quote", b'a,b\n1,2\n"3,4\n5,6\n', refusal=NO_END, cut_refusal=UNKNOWN),
    Case("open quote, scanned", b'a,b\n1,2\n"3,4\n5,6\n', {"quoted_newlines": True}, NO_END),
    Case(
        "open quote, lines", b'a,b\n1,2\n"3,4\n5,6\n', {"quoted_newlines": False}, "if rows span lines, specify quoted"
    ),
    Case("newlines denied", NEWLINES.encode(), {"quoted_newlines": False}, "a quote is not closed on its line"),
    Case("backslash", b'a,b\n"yes \\"no\\"",1\n', refusal=NO_END, cut_refusal=UNKNOWN),
    Case("text after quote", b'a,b\n"x"y,1\n', refusal=NO_END, cut_refusal=UNKNOWN),
    Case("gzip", b"\x1f\x8b\x08\x00junk", refusal="specify compression='gzip'"),
    Case("zip", b"PK\x03\x04junk", refusal="a ZIP archive or an Excel workbook"),
    Case("parquet", b"PAR1junk", refusal="cannot be read as lines: use S3Parquet"),
]
"""Files that are refused."""


def rows_by_csv(case: Case) -> list[dict[str, Any]]:
    """Return the rows that Python's csv module reads from the whole file, as it was declared."""
    columns = case.settings.get("columns")
    text = case.data.decode(case.settings.get("encoding", "utf-8-sig")).removeprefix("\ufeff")
    quote = case.settings.get("quotechar", '"')
    options: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    by_key = {".tsv": "\t", ".psv": "|"}.get(case.key.lower()[-4:], ",")
    csv.field_size_limit(1_000_000)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=case.settings.get("delimiter", by_key), **options)
    read = [row for row in rows if row]
    has_header = case.settings.get("header") is not False and (columns is None or set(read[0]) <= set(columns))
    header = read.pop(0) if has_header else columns
    missing = dict.fromkeys(columns or header)
    return [{**missing, **dict(zip(header, row, strict=True))} for row in read]
