#!/usr/bin/env python3
"""Compares the Jinja engine of chat templates with jinja2, and writes the tests' fixtures.

Needs `pip install jinja2`. The environment has the settings that transformers renders chat templates
with. The cases come from a seeded generator and from the list below.

    scripts/check-jinja.py --fixtures Tests/Fixtures/jinja-cases.json
    scripts/check-jinja.py --count 5000 --cases cases.jsonl      # one case a line
"""

import argparse
import copy
import datetime
import json
import random
import warnings

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

warnings.simplefilter("ignore", SyntaxWarning)
DATE = datetime.datetime(2024, 7, 26)


class Generation(Extension):
    """{% generation %} blocks, which print what they hold."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_run")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _run(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )

    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = DATE.strftime
    return env


DATA = {
    "s": "Hello, World", "e": "", "u": "  Ünï\u3000코드 é\n", "q": "it's \"so\"", "n": 7, "z": 0,
    "m": -3, "f": 2.5, "g": 1e16, "h": 1e-5, "t": True, "o": None, "l": [3, 1, 2], "k": [],
    "w": ["b", "A", "c", "a"], "x": [1, [2, "y"], {"a": None}],
    "d": {"b": 1, "a": "two", "items": [1, 2]}, "p": [{"r": "user", "v": 1}, {"r": "bot", "v": 2},
    {"r": "user", "v": 0}], "lines": "a\n\n b\r\nc",
}

HAND = [
    "{% for x in l %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.previtem }}{% endfor %}",
    "a\n  {% if t %}\n  b\n  {% endif %}\nc\n",
    "a \n  {%- if t -%}  b  {%- endif +%}\n c",
    "  {#- c -#}  x {# d #}\n y {{- s -}} z",
    "{% raw %}{{ x }} {% if %}{% endraw %}\nx",
    "{% set ns = namespace(a=1, b=[]) %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}",
    "{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}",
    "{% macro m(a, b=2, *c) %}{% endmacro %}",
    "{% macro m(a, b=2) %}[{{ a }}|{{ b }}|{{ varargs }}|{{ kwargs }}]{% endmacro %}{{ m(1) }}{{ m(1, 3, 4, k=5) }}{{ m() }}",
    "{% macro m() %}<{{ caller(3) }}>{% endmacro %}{% call(y) m() %}{{ y }}{{ n }}{% endcall %}",
    "{% set b %}x{{ s }}{% endset %}{{ b | upper }}",
    "{% set b | upper | replace('L', 'l') %}x{{ s }}{% endset %}{{ b }}",
    "{% filter trim | upper %} a {{ s }} {% endfilter %}",
    "{% for a, b in d.items() %}{{ a }}={{ b }};{% endfor %}{{ d['items'] }}{{ d.get('zz', 4) }}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.length }}{% else %}none{% endfor %}",
    "{% for x in k %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}",
    "{% for x in [[1,[2]],[3,[]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{{ loop.depth }}{% endif %}{% endfor %}",
    "{% with a = 1, b = s %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{{ 'a' if e else 'b' }}{{ 'c' if t }}{{ 'd' if z }}",
    "{{ undefined_name }}{{ undefined_name.x }}",
    "{{ undefined_name is defined }}{{ undefined_name | default('q') }}{{ d.nope is defined }}",
    "{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 1 in l }}{{ 'ell' in s }}{{ 'b' not in d }}",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ -2 ** 2 }} {{ 2 ** -1 }}",
    "{{ x }} {{ d }} {{ (1,) }} {{ g }} {{ h }} {{ q }} {{ [q, u, 'a\\tb'] }} {{ range(3) }} {{ d.keys() }}",
    "{{ p | map(attribute='v') | list }}{{ p | selectattr('r', 'equalto', 'user') | map(attribute='v') | sum }}",
    "{{ p | groupby('r') }}{% for r, g in p | groupby('r') %}{{ r }}{{ g | length }}{% endfor %}",
    "{{ x | tojson }}{{ d | tojson(indent=2) }}{{ u | tojson }}{{ u | tojson(ensure_ascii=True) }}{{ '<' | tojson }}",
    "{{ strftime_now('%d %b %Y %A %B %j') }}",
    "{{ l.append(1) }}",
    "{{ ''.__class__ }}",
    "{{ s.split(', ') }}{{ ' a  b '.split() }}{{ 'a,b,c'.rsplit(',', 1) }}{{ lines.splitlines() }}",
    "{{ s[1:5] }}{{ s[::-1] }}{{ l[-1] }}{{ l[1:] }}{{ s[-3:] }}{{ u[2:5] }}{{ l[5] }}",
    "{{ '%s is %d and %.2f %5s|%-5s|%05d' % ('a', 3, 2.675, 'x', 'y', 42) }}{{ '{} {1}'.format(1) if false else '{} {}'.format(1, s) }}",
    "{{ ('<' | safe) + '<' }}{{ '<' | e }}{{ '<' ~ ('&' | e) }}",
    "{{ 2.5 | round }}{{ 3.5 | round }}{{ 2.675 | round(2) }}{{ 42.55 | round(1, 'floor') }}{{ 7 | round }}",
    "{{ lines | indent }}|{{ lines | indent(2, true) }}|{{ lines | indent('>', blank=true) }}",
    "{% generation %}x{{ s }}{% endgeneration %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, (d2, e2)) = (1, (2, 3)) %}{{ e2 }}",
    "{{ 'a' 'b' }}{{ \"\\n\\x41\\u00e9\\q\" }}{{ 1_000 }}{{ 0x1F }}{{ 1.5e3 }}",
    "{{ loop is defined }}{% for c in 'héy' %}{{ c }}.{{ loop.cycle('x', 'y') }}{% endfor %}",
    "{{ none }}{{ true }}{{ True }}{{ None }}{{ not none }}{{ none or 'x' }}{{ 0 and 1 }}",
    "{{ 'x' is string }}{{ 1 is number }}{{ d is mapping }}{{ s is sequence }}{{ n is odd }}{{ 4 is divisibleby 2 }}{{ s is not none }}",
    "{{ raise_exception('no: ' ~ s) }}",
    "{% for i in range(3) %}{% for j in range(i) %}{{ loop.index }}{{ i }}{% endfor %}{% endfor %}",
    "{{ {'a': {'b': 1}}.a.b }}{{ {'a':{'b':1}} }}",
    "{{ dict(a=1, **{'b': 2}) }}{{ namespace(x=1).x }}",
    "{{ ['a', 'B'] | join('-') | upper }}{{ [1, none, true] | join(',') }}{{ w | sort }}{{ w | unique | list }}{{ w | max }}",
    "{{ '42' | int + 1 }}{{ '4.7' | int }}{{ 'x' | int(9) }}{{ '1e3' | float }}{{ 3 | float }}{{ true | int }}",
]


class Generator:
    """Random expressions over DATA; many of them fail, which both sides must agree on."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *options):
        return self.r.choice(options)

    def text(self):
        return repr(self.pick("a", "", " b ", "o", "World", "é", ", ", "<x>", "A b-c", "\n"))

    def atom(self):
        return self.pick(
            self.pick(*DATA), self.pick(*DATA), self.text(), str(self.r.randint(-3, 20)), "2.5", "none",
            "true", "false", "nope", "[1, 'a']", "{'k': 1}", "(1, 2)",
        )

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        e = lambda: self.expression(depth - 1)
        kind = self.r.randint(0, 13)
        if kind == 0:
            return f"({e()} {self.pick('+', '-', '*', '/', '//', '%', '~', '~')} {e()})"
        if kind == 1:
            return f"({e()} {self.pick('==', '!=', '<', '<=', '>', '>=', 'in', 'not in', 'and', 'or')} {e()})"
        if kind == 2:
            return f"({e()} if {e()} else {e()})"
        if kind == 3:
            # jinja2 takes slices of constants that cannot be sliced for undefined, others for errors.
            if self.r.random() < 0.5:
                return f"{self.pick('s', 'u', 'q', 'l', 'w')}[{self.pick('1:', ':2', '::-1', '1:-1', '::2', '-4:9')}]"
            return f"{e()}[{self.pick('0', '-1', repr('b'), e())}]"
        if kind == 4:
            name = self.pick("a", "b", "items", "r", "nope", "upper", "keys")
            return f"({e()}).{name}"
        if kind in (5, 6):
            m = self.pick(
                "upper()", "lower()", "strip()", "title()", "capitalize()", "split()", "keys()", "items()",
                "values()", f"split({self.text()})", f"strip({self.text()})", f"replace({self.text()}, {self.text()})",
                f"startswith({self.text()})", f"endswith({self.text()})", f"find({self.text()})", f"count({self.text()})",
                f"get({self.text()})", f"get('a', {e()})", "splitlines()", "rstrip()", "lstrip()", "isdigit()",
                f"join({e()})", "center(9)", "zfill(5)", "swapcase()", f"partition({self.text()})", "istitle()",
                "rsplit(' ', 1)", "isalpha()", "islower()", f"index({e()})", "expandtabs(3)",
            )
            return f"({e()}).{m}"
        if kind in (7, 8, 9):
            f = self.pick(
                "upper", "lower", "trim", "title", "capitalize", "length", "first", "last", "list", "string",
                "join(',')", "tojson", "tojson(indent=2)", "int", "float", "round", "abs", "sort", "reverse", "unique",
                "sum", "min", "max", "default('D')", "default('D', true)", "items", "replace('o', '0')", "indent",
                "map('upper')", "map(attribute='v')", "select", "reject", "select('string')", "rejectattr('v')",
                "selectattr('v')", "selectattr('r', '==', 'user')", "batch(2)", "slice(2)", "dictsort", "wordcount",
                "groupby('r')", "count", "center(12)", "truncate(5)", "urlencode", "escape", "round(1)", "join",
                "map('int')", "sort(reverse=true)", "tojson(sort_keys=true)", "attr('upper')", "format(1)",
            )
            name = f.split("(")[0]
            # Generators have a text with an address, and fail only when they are read.
            if name in ("items", "reverse", "unique", "map", "select", "reject", "selectattr", "rejectattr", "batch", "slice"):
                return f"({'d' if name == 'items' else self.pick('l', 'w', 'p', 'x', 'k', 'lines')} | {f} | list)"
            # These take texts alone.
            if name in ("truncate", "urlencode"):
                return f"({self.pick('s', 'u', 'e', 'q', 'lines')} | {f})"
            return f"({e()} | {f}{self.pick('', '', ' | list', ' | string')})"
        if kind == 10:
            t = self.pick(
                "defined", "undefined", "none", "string", "mapping", "sequence", "iterable", "number", "integer",
                "float", "boolean", "true", "false", "odd", "even", "lower", "upper", "callable", f"eq({e()})",
                f"in {self.pick('l', 'd', 's', 'w')}", "divisibleby 2", "not defined",
            )
            return f"({e()} is {t})"
        if kind == 11:
            return f"{self.pick('not ', '-', '+')}({e()})"
        if kind == 12:
            return f"[{e()}, {e()}]"
        return "{" + f"{self.pick(repr('a'), '1', e())}: {e()}" + "}"

    def template(self):
        space = lambda: self.pick("", "", " ", "\n", "\n  ", "  \n")
        sign = lambda: self.pick("", "", "-", "+")
        e = lambda: self.expression(self.r.randint(0, 2))
        def block(depth):
            kind = self.r.randint(0, 8 if depth > 0 else 3)
            if kind <= 2:
                return "{{" + self.pick("", "-") + " " + e() + " " + self.pick("", "-") + "}}"
            if kind == 3:
                return "{% set " + self.pick("v", "s", "n") + " = " + e() + " " + self.pick("", "-") + "%}"
            inner = lambda: "".join(space() + block(depth - 1) for _ in range(self.r.randint(1, 2))) + space()
            tag = lambda text: "{%" + sign() + " " + text + " " + sign() + "%}"
            if kind == 4:
                return tag("if " + e()) + inner() + tag("else") + inner() + tag("endif")
            if kind == 5:
                return tag("for v in " + self.pick("l", "w", "p", "d", "s", "k", e())) + inner() + "{{ loop.index }}" + tag("endfor")
            if kind == 6:
                return tag("macro mm(v, n=3)") + inner() + tag("endmacro") + "{{ mm(" + e() + ") }}"
            if kind == 7:
                return tag("set v") + inner() + tag("endset") + "{{ v }}"
            return "{#" + sign() + " c " + sign() + "#}" + inner()
        return "".join(space() + block(2) for _ in range(self.r.randint(1, 3))) + space()


def cases(count, seed):
    generator = Generator(seed)
    for template in HAND:
        yield template
    for index in range(count):
        if index % 3 == 2:
            yield generator.template()
        else:
            yield "{{ " + generator.expression(generator.r.randint(1, 3)) + " }}"


def expected(env, template):
    """What jinja2 writes; None when it fails, or when its text depends on the process."""
    try:
        text = env.from_string(template).render(**copy.deepcopy(DATA))
    except Exception:
        return {"template": template, "fails": True}
    if " at 0x" in text or len(text) > 20000:
        return None
    return {"template": template, "text": text}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fixtures", help="file to write, with the data that templates see")
    parser.add_argument("--cases", help="file to write, one case a line")
    options = parser.parse_args()
    env = environment()
    found = [c for c in (expected(env, t) for t in cases(options.count, options.seed)) if c]
    # Failures alone show little; keep some of them.
    if options.fixtures:
        failures = [c for c in found if "fails" in c]
        kept = [c for c in found if "text" in c] + failures[:80]
        with open(options.fixtures, "w") as file:
            json.dump({"jinja2": jinja2.__version__, "data": DATA, "cases": kept}, file, indent=0, ensure_ascii=True)
            file.write("\n")
        print(len(kept), "cases,", sum("text" in c for c in kept), "of them with text")
    if options.cases:
        with open(options.cases, "w") as file:
            for case in found:
                file.write(json.dumps(case) + "\n")
        print(len(found), "cases,", sum("text" in c for c in found), "of them with text")


if __name__ == "__main__":
    main()
