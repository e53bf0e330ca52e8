#!/bin/sh
# The order of knowledge, as src/layers.txt gives it: a file includes headers of its own module and of
# modules that stand lower, internal ones as well as <umbra/...>. A header named internal.h or
# ..._internal.h is for the sources of its folder and of those in it. The command line uses public
# headers, its own, the JSON writer, the quoting of text and the server. (Tests, tools and benchmarks may look
# inside.)
#   scripts/check-layers.sh [ROOT]     ROOT: another tree than this one
set -eu
cd "${1:-$(dirname "$0")/..}"

find src include -name '*.[ch]' | sort | awk '
function complain(what) { print what; failures++ }
function folder(path) { return path ~ /\// ? substr(path, 1, match(path, /\/[^\/]*$/) - 1) : "" }
# The module of a path under src; those of the lab are two names deep.
function module(path,    parts, n)
{
    n = split(path, parts, "/")
    return parts[1] == "lab" && n > 2 ? "lab/" parts[2] : parts[1]
}
function must_be_below(used, what)
{
    if (!(used in height))
        complain(what ", whose module " used " is not in src/layers.txt")
    else if (used != own && height[used] >= height[own])
        complain(what " from " used ", which is not below " own)
}
function check_internal(file, header,    home)
{
    home = folder(header)
    if (header ~ /(^|[\/_])internal\.h$/ && index(folder(file) "/", home "/") != 1)
        complain("src/" file " includes " header ", which is internal to src/" home)
}
function check_include(file, header, quoted)
{
    if (!quoted && header !~ /^umbra\//)
        return
    what = file " includes " header
    if (!quoted && !(header in owner))
        complain(what ", which src/layers.txt gives to no module")
    else if (!quoted)
        must_be_below(owner[header], what)
    else if (file ~ /^include\//)
        complain(what ", an internal header, in a public one")
    else if (!(("src/" header) in exists))
        complain(what ", which is not there")
    else if (own == "cli" && header !~ /^cli\// && header !~ /^(base\/(json_writer|quote)|serve\/serve)\.h$/)
        complain(what ", an internal header, in the command line")
    else {
        must_be_below(module(header), what)
        check_internal(substr(file, 5), header)
    }
}
function read_layers(    fields, n, i, line)
{
    while ((getline line < "src/layers.txt") > 0) {
        if (line ~ /^#/ || line ~ /^ *$/)
            continue
        n = split(line, fields, " ")
        height[fields[2]] = fields[1] + 0
        for (i = 3; i <= n; i++)
            owner["umbra/" fields[i]] = fields[2]
    }
}
function check_file(file,    line, parts)
{
    own = file ~ /^include\// ? owner[substr(file, 9)] : module(substr(file, 5))
    if (!(own in height)) {
        complain(file ": its module is not in src/layers.txt")
        return
    }
    while ((getline line < file) > 0) {
        if (length(line) > 100)
            complain(file ": a line of more than 100 columns")
        if (line ~ /^[ \t]*#[ \t]*include[ \t]*["<]/) {
            split(line, parts, /["<>]/)
            check_include(file, parts[2], line ~ /"/)
        }
    }
    close(file)
}
{ files[++n_files] = $0; exists[$0] = 1; if ($0 ~ /^src\//) lived[module(substr($0, 5))] = 1 }
END {
    read_layers()
    for (name in height)
        if (!(name in lived))
            complain("src/" name " is in src/layers.txt, but holds no source")
    for (header in owner)
        if (!(("include/" header) in exists))
            complain("include/" header " is in src/layers.txt, but is not there")
    for (i = 1; i <= n_files; i++)
        check_file(files[i])
    exit (failures > 0)
}' >&2

long=$(find tests bench tools -name '*.[ch]' -exec awk 'length > 100 { print FILENAME ":" FNR }' {} + 2>&1)
if [ -n "$long" ]; then
    echo "lines over 100 columns: $long" >&2
    exit 1
fi
echo "layers are in order"
