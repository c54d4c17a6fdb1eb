#ifndef CYAML_H
#define CYAML_H
// Types and functions of libyaml's event parser, used by Support/YAMLDocument.swift.
#include <yaml.h>
#endif
