#!/bin/sh
# Man pages and completions: every command and every option of the sources is in each of them, and
# man and the shells that are installed read them. Usage: test_pages.sh UMBRA PAGES_FOLDER
set -eu
umbra=$1
pages=$2

fail()
{
    echo "FAILED: $1"
    exit 1
}

# has WORD FILE: the word stands in the file, roff's \- read as -
has()
{
    sed 's/\\-/-/g' "$2" | grep -qF -e "$1" || fail "$2 does not have $1"
}

"$umbra" help --commands | while read -r command; do
    man=$pages/man/umbra-$(echo "$command" | tr ' ' -).1
    "$umbra" help $command >/dev/null || fail "no help of $command"
    has "$command" "$pages/man/umbra.1"
    has "$command" "$pages/bash/umbra"
    has "$command" "$pages/zsh/_umbra"
    has "$command" "$pages/fish/umbra.fish"
    for section in SYNOPSIS DESCRIPTION OPTIONS "EXIT STATUS" EXAMPLES; do
        has ".SH $section" "$man"
    done
    # The lines of the help's option list; one with a letter is "-p, --prompt TEXT".
    "$umbra" help $command | sed -n 's/^  \(-., \)\{0,1\}\(--[a-z0-9-]*\).*/\2/p' |
        while read -r option; do
            has "$option" "$man"
            sed -n "/'$command '\*)/,/;;\$/p" "$pages/bash/umbra" | grep -qF -e "$option" ||
                fail "bash does not complete $command $option"
            sed -n "/'$command '\*)/,/;;\$/p" "$pages/zsh/_umbra" |
                grep -qF -e "'$option" -e ")$option" -e "*$option" ||
                fail "zsh does not complete $command $option"
            grep -F -e "__umbra_at $command" "$pages/fish/umbra.fish" |
                grep -qF -e "-l ${option#--}" ||
                fail "fish does not complete $command $option"
        done
done

# What the sources have and no table shows would be missing above.
cat src/cli/*.[ch] | grep -o '{"--[a-z0-9-]*",' | tr -d '{",' | sort -u |
    while read -r option; do
        cat "$pages"/man/*.1 >"$pages/all"
        has "$option" "$pages/all"
        rm "$pages/all"
    done

checked=
if command -v groff >/dev/null; then
    for page in "$pages"/man/*.1; do
        said=$(groff -ww -man -z "$page" 2>&1) || fail "$page: $said"
        [ -z "$said" ] || fail "$page: $said"
    done
    checked="$checked groff"
fi
if command -v mandoc >/dev/null; then
    for page in "$pages"/man/*.1; do
        mandoc -Tlint -Werror "$page" || fail "$page"
    done
    checked="$checked mandoc"
fi
bash -n "$pages/bash/umbra" || fail "bash cannot read its completion"
for shell in zsh fish; do
    command -v $shell >/dev/null || continue
    $shell -n "$pages/$shell"/*umbra* || fail "$shell cannot read its completion"
    checked="$checked $shell"
done

# complete WORD...: what bash offers for the last word
complete()
{
    bash -c 'source "$0"; compopt() { :; }
        COMP_WORDS=(umbra "$@"); COMP_CWORD=$#; _umbra; echo "${COMPREPLY[*]}"' \
        "$pages/bash/umbra" "$@"
}
[ "$(complete insp)" = inspect ] || fail "bash: umbra insp"
[ "$(complete bench pred)" = predictor ] || fail "bash: umbra bench pred"
[ "$(complete run MODEL --io u)" = uring ] || fail "bash: umbra run --io u"
[ "$(complete run MODEL --io = u)" = uring ] || fail "bash: umbra run --io=u"
[ "$(complete run LICEN)" = LICENSE ] || fail "bash: umbra run LICEN"
[ "$(complete bench predictor --sha | tr ' ' '\n' | sort | tr '\n' ' ')" = "--shadow --shape " ] ||
    fail "bash: umbra bench predictor --sha"
echo "read by bash$checked"
