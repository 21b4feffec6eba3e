"""What a shell is told, so that it asks ``lensblend`` itself what can stand at the end of a line."""

from __future__ import annotations

# Bash has broken the word at `=` and `:`, and wants what follows them; what ends in `=`, `.` or `/` goes on.
BASH = r"""_lensblend() {
    local line="${COMP_LINE:0:COMP_POINT}" found candidate cut="" IFS=$' \t\n'
    local word="${line##*[[:space:]]}"
    found=$(COMP_LINE="$line" COMP_POINT=${#line} "${COMP_WORDS[0]/#\~/$HOME}" -sc query=bash 2>/dev/null)
    case "$word" in
        *[=:]*) cut="${word%"${word##*[=:]}"}" ;;
    esac
    [[ "$COMP_WORDBREAKS" == *=* ]] || cut=""
    COMPREPLY=()
    set -f
    for candidate in $found; do
        COMPREPLY+=("${candidate#"$cut"}")
    done
    set +f
    if [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=./] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o default -F _lensblend lensblend
"""

ZSH = r"""(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_lensblend() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    local -a found open closed
    found=(${=$(COMP_LINE="$line" COMP_POINT=${#line} ${~words[1]} -sc query=bash 2>/dev/null)})
    if (( $#found == 0 )); then
        compset -P '*='
        _files
        return
    fi
    open=(${(M)found:#*[=./]})
    closed=(${found:#*[=./]})
    (( $#open )) && compadd -Q -S '' -- $open
    (( $#closed )) && compadd -Q -- $closed
}
compdef _lensblend lensblend
"""

# Fish puts no space behind `=`, `.` and `/` by itself.
FISH = r"""function __lensblend_complete
    set -l typed (commandline -opc)
    set -lx COMP_LINE (commandline -cp)
    set -l found ($typed[1] -sc query=bash 2>/dev/null | string split -n ' ')
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c lensblend -f -a '(__lensblend_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
SOURCED = {
    "bash": 'eval "$(lensblend completion bash)"    # in ~/.bashrc',
    "zsh": 'eval "$(lensblend completion zsh)"     # in ~/.zshrc',
    "fish": "lensblend completion fish | source    # in ~/.config/fish/config.fish",
}
