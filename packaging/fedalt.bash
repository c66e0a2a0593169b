# bash completion for fedalt: commands, then files.
_fedalt() {
  local word=${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    mapfile -t COMPREPLY < <(compgen -W "run compare eval generate explain export report doctor --help --version" -- "$word")
  fi
}
complete -o default -F _fedalt fedalt
