# bash completion for fedalt: commands, a command's options, then files.
_fedalt() {
  local word=${COMP_WORDS[COMP_CWORD]} words=
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    mapfile -t COMPREPLY < <(compgen -W "run compare eval generate export report data doctor keys server site audit status list show pull stop pause resume erase --help --version" -- "$word")
    return
  fi
  if [[ $COMP_CWORD -eq 2 && ${COMP_WORDS[1]} == data ]]; then
    mapfile -t COMPREPLY < <(compgen -W "split stats --help" -- "$word")
    return
  fi
  if [[ $COMP_CWORD -eq 2 && ${COMP_WORDS[1]} == keys ]]; then
    mapfile -t COMPREPLY < <(compgen -W "init server site revoke show --help" -- "$word")
    return
  fi
  if [[ $COMP_CWORD -eq 2 && ${COMP_WORDS[1]} == audit ]]; then
    mapfile -t COMPREPLY < <(compgen -W "show verify --help" -- "$word")
    return
  fi
  case ${COMP_WORDS[1]} in
    run) words="--format --help --out --quiet --resume" ;;
    compare) words="--bootstrap --chosen-by --format --help --methods --out --quiet --reference --resume --search --seeds --set" ;;
    eval) words="--data --device --format --help --round --site" ;;
    generate) words="--adapter --alone --beams --device --format --help --input --input-text --length-penalty --max-new-tokens --model --prompt --round --seed --site --temperature --template --top-k --top-p" ;;
    export) words="--base-model-id --device --help --merged --out --round --site" ;;
    report) words="--format --help" ;;
    data) words="--alpha --by --format --help --limit --min-examples --out --seed --sites --sites-per-task --test --test-data" ;;
    doctor) words="--format --help" ;;
    keys) words="--days --federation --format --help --host --renew --replace" ;;
    server) words="--help" ;;
    site) words="--cause --format --help --leave --quiet" ;;
    audit) words="--format --help --kind --run --signed-at-least --trust" ;;
    status) words="--format --help" ;;
    list) words="--format --help --what" ;;
    show) words="--format --help" ;;
    pull) words="--format --help --out --site" ;;
    stop) words="--cause --format --help --wait" ;;
    pause) words="--cause --format --help --wait" ;;
    resume) words="--format --help --wait" ;;
    erase) words="--cause --format --help --site --wait" ;;
  esac
  if [[ $word == -* ]]; then mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word"); fi
}
complete -o default -F _fedalt fedalt
