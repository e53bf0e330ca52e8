#!/bin/sh
# What the documents say is there: the error texts in the headings of docs/troubleshooting.md are
# the program's, links and names of sources lead to files, commands and options are those of the
# program, and its model layouts are listed.
# Usage: test_docs.sh UMBRA LIBRARY
set -eu
umbra=$1
library=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/failed"

fail()
{
    echo "FAILED: $1"
    echo "$1" >>"$work/failed"
}

# `text` in a heading; format strings lie in the program as they are written
grep '^### ' docs/troubleshooting.md | grep -o '`[^`]*`' | tr -d '`' |
    while read -r text; do
        grep -aqF -e "$text" "$umbra" "$library" ||
            fail "troubleshooting.md: the program never says \"$text\""
    done

for file in *.md docs/*.md examples/*.md; do
    grep -o '](\([^)#]*\)' "$file" | sed 's/^](//' | while read -r link; do
        case $link in
        http*) ;;
        *) [ -e "$(dirname "$file")/$link" ] || fail "$file links to $link, which is not there" ;;
        esac
    done
done

# A source that is named with its folder is there.
grep -no '`[a-z0-9_]*/[a-z0-9_/]*\.[ch]`' *.md docs/*.md examples/*.md | tr -d '`' |
    while IFS=: read -r file line path; do
        [ -e "$path" ] || [ -e "src/$path" ] || [ -e "include/$path" ] ||
            fail "$file:$line names $path, which is not there"
    done

# Every layout that the program's refusal lists is in the README.
zero='\0\0\0\0'
printf "GGUF\\003\\0\\0\\0$zero$zero\\001\\0\\0\\0$zero\\024\\0\\0\\0$zero%s\\010\\0\\0\\0\\004\\0\\0\\0$zero%s" \
    general.architecture none >"$work/none.gguf"
layouts=$("$umbra" inspect "$work/none.gguf" 2>&1 | sed -n 's/.*not supported; supported: //p')
[ -n "$layouts" ] || fail "umbra inspect does not list the layouts that it supports"
for layout in $(echo "$layouts" | tr -d ','); do
    grep -qF -e "| \`$layout\` |" README.md || fail "README.md does not list the layout $layout"
done

# Every pre-tokeniser is in docs/formats.md.
sed -n '/pre_tokenizers\[\] = {/,/^};/s/^    {"\([^"]*\)",.*/\1/p' src/tokenizer/split.c >"$work/names"
[ -s "$work/names" ] || fail "src/tokenizer/split.c has no pre-tokenisers"
while read -r name; do
    grep -qF -e "\`$name\`" docs/formats.md || fail "docs/formats.md does not list $name"
done <"$work/names"

# Options behind "umbra COMMAND" on one line of a document are options of that command.
"$umbra" help --commands | while read -r command; do
    "$umbra" help $command >"$work/help"
    cat ./*.md docs/*.md examples/* 2>/dev/null |
        sed -n "s/.*\(umbra\|\"\$umbra\"\) $command \([^|\`#;\&]*\).*/\2/p" | sed 's/ -- .*//' |
        grep -o -e ' --[a-z0-9-]*' | sort -u | while read -r option; do
            grep -qF -e "$option" "$work/help" || fail "a document has umbra $command $option"
        done
done
[ ! -s "$work/failed" ]
