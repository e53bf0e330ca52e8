#!/bin/sh
# Shows Doxygen the headers' plain comments as documentation: /* before a declaration becomes /**,
# /* behind one becomes /**<, and the first of a file is the file's. Usage: doxygen-filter.sh FILE
exec awk '
{
    if (!first && sub(/^\/\* /, "/** @file\n * ")) {
        first = 1
    } else if (match($0, /^[ \t]*\/\* /)) {
        sub(/\/\* /, "/** ")
    } else {
        sub(/\/\* /, "/**< ")
    }
    print
}' "$1"
