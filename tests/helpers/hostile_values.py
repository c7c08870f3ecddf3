"""Values and texts that no sound run has: what a stranger writes in the place of its own."""

VALUES = [
    None,
    True,
    -1,
    0,
    10**12,
    10**22,
    1e308,
    "",
    "x",
    "../../secret",
    "$\\frac{1}$",
    "=1+1",
    "\x1b[2J\n\t",
    [],
    {},
]
VALUES += [
    [[]],
    [None],
    {"a": {}},
    {"_target_": "os.system"},
    {"_target_": "difflab.sampler.DDIM"},
    float("inf"),
    "9" * 5000,
]
DEEP = 100_000

BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join([f'*{chr(97 + k)}'] * 8)}]\n" for k in range(9)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} {{<<: [{', '.join([f'*{chr(97 + k)}'] * 8)}]}}\n" for k in range(12)
)
TEXTS = {
    "empty": b"",
    "one byte": b"\x00",
    "no UTF-8": b"\xff\xfe\x80abc",
    "deep lists": b"[" * DEEP,
    "deep mappings": b'{"a":' * DEEP,
    "a list": b"[1, 2]",
    "a number": b"1",
    "NaN": b'{"metrics": NaN}',
    "long number": b'{"format": ' + b"9" * 5000 + b"}",
    "half a character": b'{"command": "\\ud800"}',
    "alias bomb": BOMB.encode(),
    "merge bomb": MERGES.encode(),
    "itself": b"a: &a\n  b: *a\n",
    "python tag": b"a: !!python/object/apply:os.system ['touch executed']",
    "date": b"a: 2001-13-45",
}
