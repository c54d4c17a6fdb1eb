#!/usr/bin/env python3
"""Writes the Unicode tables of the tokenizers.

    pip install tokenizers==0.23.3 unicodedata2==16.0.0
    scripts/make-unicode-tables.py

Categories are those of Unicode 16, which the regular expressions of Hugging Face's tokenizers
(Oniguruma) know. Scripts are asked from that library. Its normalizers know Unicode 15.1 and older;
decompositions that they do not have are left out. Every code point is checked against the library.
"""
import os

import unicodedata2 as unicode
from tokenizers import Regex, normalizers, pre_tokenizers

assert unicode.unidata_version == "16.0.0", unicode.unidata_version
HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "Sources", "Data", "Patterns")
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp "
              "Cc Cf Cs Co Cn").split()
SCRIPTS = ("Arabic Armenian Bengali Bopomofo Common Cyrillic Devanagari Ethiopic Georgian Greek "
           "Gujarati Gurmukhi Han Hangul Hebrew Hiragana Inherited Kannada Katakana Khmer Lao Latin "
           "Malayalam Mongolian Myanmar Oriya Sinhala Tamil Telugu Thai Tibetan").split()
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def number(value):
    """Five bits a digit, lowest first; the sixth says that more follow."""
    text = ""
    while value >= 32:
        text += DIGITS[value % 32 + 32]
        value //= 32
    return text + DIGITS[value]


def signed(value):
    return number(2 * value if value >= 0 else -2 * value - 1)


def literal(text):
    lines = [text[i:i + 92] for i in range(0, len(text), 92)]
    return '"""\n    ' + "\\\n    ".join(lines) + '\n    """'


def write(name, summary, body):
    with open(os.path.join(DATA, name), "w") as file:
        file.write(f"// Made by scripts/make-unicode-tables.py; do not edit.\n\n{summary}\n{body}")


def runs(values):
    """(value, count) of equal neighbours."""
    result = []
    for value in values:
        if result and result[-1][0] == value:
            result[-1][1] += 1
        else:
            result.append([value, 1])
    return result


def matched(pattern):
    text = "".join(map(chr, SCALARS))
    kept = set()
    for _, (start, end) in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(text):
        kept.update(range(start, end))
    return {c for i, c in enumerate(SCALARS) if i not in kept}


def categories():
    table = [unicode.category(chr(c)) for c in range(0x110000)]
    table[0x295] = "Ll"  # as Oniguruma has it
    for name in CATEGORIES:
        if name != "Cs":
            assert matched(r"\p{%s}" % name) == {c for c in SCALARS if table[c] == name}, name
    text = "".join(DIGITS[CATEGORIES.index(name)] + number(count) for name, count in runs(table))
    write("UnicodeCategories+Data.swift",
          "/// The general category of every code point in Unicode 16: runs of a category and a length.",
          f"extension UnicodeCategory {{\n  static let encodedRuns = {literal(text)}\n}}\n")


def scripts():
    body = "extension UnicodeScript {\n"
    body += "  static let encodedRanges: [(name: String, ranges: String)] = [\n"
    for name in SCRIPTS:
        members = matched(r"\p{%s}" % name)
        flags = runs(c in members for c in range(0x110000))
        if flags[0][0]:
            flags.insert(0, [False, 0])
        text = "".join(number(count) for _, count in flags[:-1] if True)
        if flags[-1][0]:
            text += number(flags[-1][1])
        body += f'    (\n      "{name.lower()}",\n      {literal(text).replace(chr(10) + "    ", chr(10) + "      ")}\n    ),\n'
    write("UnicodeScripts+Data.swift",
          "/// Scripts of Unicode 16: lengths of gaps and ranges in turn.", body + "  ]\n}\n")


def decompositions():
    nfd, nfkd, nfc = (getattr(normalizers, n)().normalize_str for n in ("NFD", "NFKD", "NFC"))
    text, last, targets, known = "", 0, [0], {}
    for c in SCALARS:
        plain = unicode.decomposition(chr(c))
        if not plain or nfkd(chr(c)) == chr(c):
            continue
        parts = plain.split()
        is_compatible = parts[0].startswith("<")
        points = [int(p, 16) for p in parts[is_compatible:]]
        composes = not is_compatible and len(points) == 2 and nfc(chr(c)) == chr(c)
        known[c] = points
        kind = 0 if is_compatible else 2 if composes else 1
        text += number(c - last) + number(3 * (len(points) - 1) + kind)
        last = c
        for i, point in enumerate(points):
            before = targets[i] if i < len(targets) else points[i - 1]
            text += signed(point - before)
        targets = points
    classes = [unicode.combining(chr(c)) if c in SCALAR_SET else 0 for c in range(0x110000)]
    for c in SCALARS:
        # A mark that the library does not know stays where it is.
        if classes[c] and nfd(chr(c) + "\u0334") == chr(c) + "\u0334" and classes[c] > 1:
            classes[c] = 0
    order = "".join(number(value) + number(count) for value, count in runs(classes)[:-1])
    write("UnicodeDecompositions+Data.swift",
          "/// Decompositions and combining classes, as far as Hugging Face's normalizers know them.",
          f"extension UnicodeNormalization {{\n"
          f"  static let encodedDecompositions = {literal(text)}\n\n"
          f"  static let encodedClasses = {literal(order)}\n}}\n")


SCALAR_SET = set(SCALARS)
categories()
scripts()
decompositions()
