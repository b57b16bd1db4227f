"""Numbers and fields, as docs/format.md has them under "Events"."""

class Damage(Exception):
    pass
def need(holds, what):
    if not holds:
        raise Damage(what)

class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(self.at + count <= len(self.data), "bytes end too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self, bits=64):
        value = shift = 0
        byte = 128
        while byte >= 128:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            need(value >> bits == 0 and shift < bits + 7, "a number is too large")
        return value

def varint(number):
    """The other way: a number's bytes."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])

FORMS = {  # a function reads; a string lists the parts of a structure; a tuple has the parts of each choice
    "u32": lambda b: b.varint(32), "u64": lambda b: b.varint(64), "u128": lambda b: b.varint(128),
    "i64": lambda b: (lambda n: -(n >> 1) - 1 if n & 1 else n >> 1)(b.varint(64)),
    "bytes": lambda b: b.take(b.varint()), "text": lambda b: b.take(b.varint()).decode("utf-8"),
    "bool": lambda b: field(b, "either")[0] == 1,
    "either": ("", ""), "cause": ("",) * 14, "grade": ("",) * 4, "quota": "u64? u64? bool bool",
    "body": ("", "", "bytes", "", "", "u64", "u64"),
    "source": ("u32", "u32 u32", "u32 u64"), "shift": ("u32 u64", "u32 u32 u64", *("u32 u64",) * 4),
    "actor": "grade u32 u32 u64 text text text text",
    "set": "u32? u32? u32? i64? i64?", "range": "u64 u64", "over": "u64 bool", "target": "u32 source",
    "run": "u64 u32", "retention": "u64? u64?", "why": ("",) * 3, "keep": "u64 u64", "schedule": "u64 [keep]", "hash": lambda b: b.take(32),
}

def field(b, form):
    if form.endswith("?"):
        return field(b, form[:-1]) if field(b, "bool") else None
    if form.startswith("["):
        count = b.varint()
        need(count <= len(b.data), "a count is too large")
        return [field(b, form[1:-1]) for _ in range(count)]
    rule = FORMS[form]
    if isinstance(rule, str):
        return tuple(field(b, part) for part in rule.split())
    if isinstance(rule, tuple):
        number = b.varint(32)
        need(number < len(rule), "a choice that does not exist")
        return (number, *(field(b, part) for part in rule[number].split()))
    return rule(b)
