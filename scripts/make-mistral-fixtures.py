#!/usr/bin/env python3
"""Writes Tests/Fixtures/mistral-renderings.json: SHA-256 of what jinja2 makes of Mistral's chat
templates for their sample conversations; null where a template refuses one.

    pip install jinja2
    scripts/make-mistral-fixtures.py DIR      # has chat_templates/*.jinja and samples/*/sample.json
"""
import hashlib
import json
import os
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = os.path.dirname(os.path.abspath(__file__))


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def main():
    folder = sys.argv[1]
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, **{"ensure_ascii": False, **options})
    environment.globals["raise_exception"] = refuse
    result = {}
    for name in sorted(os.listdir(os.path.join(folder, "chat_templates"))):
        template = environment.from_string(open(os.path.join(folder, "chat_templates", name)).read())
        result[name] = {}
        for sample in sorted(os.listdir(os.path.join(folder, "samples"))):
            data = json.load(open(os.path.join(folder, "samples", sample, "sample.json")))
            for prompt in False, True:
                try:
                    text = template.render(messages=data["messages"], tools=data.get("tools") or None, bos_token="<s>", eos_token="</s>",
                                           add_generation_prompt=prompt)
                    digest = hashlib.sha256(text.encode()).hexdigest()
                except jinja2.exceptions.TemplateError:
                    digest = None
                result[name][sample + ("+prompt" if prompt else "")] = digest
    with open(os.path.join(HERE, "..", "Tests", "Fixtures", "mistral-renderings.json"), "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


main()
