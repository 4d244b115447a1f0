#!/bin/sh
# Runs the agent's tests under Python 2.7 and every Python 3 found (pyenv's and those on PATH). Fails if a test does, or if no
# Python 2.7 or no Python 3.6+ is there: the agent promises both. Last line: "N passed, N failed".
#
#   run_tests.sh            every interpreter
#   run_tests.sh 2.7 3.11   only these
cd "$(dirname "$0")" || exit 1

candidates=
for folder in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin; do
    candidates="$candidates $folder/python"
done
for name in python2.7 python3.6 python3.7 python3.8 python3.9 python3.10 python3.11 python3.12 python3.13 python3.14 python3; do
    found=$(command -v "$name") && candidates="$candidates $found"
done

passed=0 failed=0 seen=" " two=no three=no
for python in $candidates; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case "$seen" in *" $version "*) continue ;; esac
    if [ $# -gt 0 ]; then
        case " $* " in *" $version "*) ;; *) continue ;; esac
    fi
    case "$version" in
        2.7) two=yes ;;
        3.[0-5]) continue ;;
        3.*) three=yes ;;
        *) continue ;;
    esac
    seen="$seen$version "
    log=$(mktemp)
    PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest discover >"$log" 2>&1
    status=$?
    ran=$(sed -n 's/^Ran \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)
    bad=$(grep -cE '^(FAIL|ERROR): ' "$log")
    if [ "$status" -ne 0 ] || [ -z "$ran" ] || [ "$ran" -eq 0 ]; then
        cat "$log"
        [ "$bad" -gt 0 ] || bad=1
    fi
    echo "Python $version: ${ran:-0} tests, $bad failed"
    passed=$((passed + ${ran:-0} - bad)) failed=$((failed + bad))
    rm -f "$log"
done
if [ $# -eq 0 ]; then
    [ $two = yes ] || { echo "no Python 2.7 found: install one, for example with pyenv install 2.7.18"; failed=$((failed + 1)); }
    [ $three = yes ] || { echo "no Python 3.6 or later found: install one"; failed=$((failed + 1)); }
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
