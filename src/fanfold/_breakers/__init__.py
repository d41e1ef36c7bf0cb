"""Breakers: stop calling a service that is down, without using up the receives of the messages that need it.

A *circuit* is the state that all execution environments share. It is closed while the service is called, open while it
is not, and half-open while one call, the *probe*, finds out whether the service is back.

``window`` decides when to open a circuit, ``transitions`` how it changes, ``hold_times`` how long messages are held.
``breaker_state`` keeps what one execution environment knows, ``breaker_limit`` makes it a policy of admission, and
``keeper`` does the reading and writing.
"""
