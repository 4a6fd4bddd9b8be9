"""Prints calibrate/unicode_table.c: general categories of Unicode by first letter, as ranges."""

import unicodedata

CLASS = {"L": 1, "M": 2, "N": 3, "P": 4, "S": 5}
ranges, last = [], None
for c in range(0x110000):
    k = CLASS.get(unicodedata.category(chr(c))[0], 0)
    if k != last:
        ranges.append(c << 3 | k)
        last = k
print(f"/* General categories of Unicode {unicodedata.unidata_version}; made by tests/clients/unicode.py. */")
print('#include "calibrate/split.h"\n')
print(f"const size_t unicode_ranges = {len(ranges)};")
print(f"const uint32_t unicode_range[{len(ranges)}] = {{")
for i in range(0, len(ranges), 12):
    print("    " + ", ".join(f"0x{x:06x}" for x in ranges[i : i + 12]) + ",")
print("};")
