# Calls a function of the page's code for curl: its name, then its arguments. Prints the answer.
. "$(dirname "$0")/push.sh"

name=$(printf '%s' "$1" | sed 's/[A-Z]/_\l&/g')
shift
"$name" "$@"
