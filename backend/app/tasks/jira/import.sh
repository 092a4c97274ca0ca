#!/bin/sh
# Create the issues of import-*.json in Jira Cloud, by curl. README.txt says how to call it.
#
# Each file is sent once. Jira's answers are kept beside the files; a file that has an answer is
# passed over when this is run again. Where it is not known whether Jira has made the issues of a
# file (the connection broke, say), this stops and never sends that file again by itself.
set -eu
LC_ALL=C
export LC_ALL
umask 077
cd "$(dirname "$0")"

: "${JIRA_URL:?the address of the site, such as https://example.atlassian.net}"
: "${JIRA_EMAIL:?the email address of the account}"
if [ -z "${JIRA_TOKEN:-}" ]; then
    printf 'API token of %s: ' "$JIRA_EMAIL" >&2
    trap 'stty echo 2>/dev/null || :' EXIT
    stty -echo 2>/dev/null || :
    read -r JIRA_TOKEN
    stty echo 2>/dev/null || :
    printf '\n' >&2
fi

stop() {
    printf '%s\n' "$@" >&2
    exit 1
}

# The keys of the issues that an answer tells, one a line, in the order of the file.
keys_of() {
    grep -o '"key" *: *"[A-Z][A-Z0-9_]*-[0-9][0-9]*"' "$1" | grep -o '[A-Z][A-Z0-9_]*-[0-9][0-9]*'
}

has_refusals() {
    ! tr -d ' \t\r\n' <"$1" | grep -q '"errors":\[\]'
}

# Write a file as it is sent: a parent that stands in an earlier file gets the key that Jira gave it.
with_keys_of_parents() {
    parents=$(grep -o '"parent":{"key":"import-[0-9]*\.json#[0-9]*"}' "$1" | cut -d '"' -f 6 | sort -u) || :
    : >.parents
    for parent in $parents; do
        earlier="answer-${parent#import-}"
        earlier="${earlier%#*}"
        if [ ! -e "$earlier" ] || has_refusals "$earlier"; then
            stop "$1 names parents in ${parent%#*}, whose issues were not all made." \
                "Give them in $1 by their keys, in place of \"import-…#…\", and run this again."
        fi
        key=$(keys_of "$earlier" | sed -n "${parent#*#}p")
        printf 's/"parent":{"key":"%s"}/"parent":{"key":"%s"}/g\n' "$parent" "$key" >>.parents
    done
    sed -f .parents "$1"
}

for file in import-*.json; do
    answer="answer-${file#import-}"
    if [ -e "$answer" ]; then
        echo "$file: sent before, see $answer"
        continue
    fi
    if [ -e ".$answer.unknown" ]; then
        stop "$file was sent, and its answer never came. Look in Jira for its issues (report.csv lists them)." \
            "If none is there, send it again: rm .$answer.unknown, and run this again." \
            "If they are there, go on behind it: mv .$answer.unknown $answer, and run this again."
    fi
    with_keys_of_parents "$file" >.sending
    status=429
    while [ "$status" = 429 ]; do
        : >".$answer.unknown"
        code=0
        status=$(printf '%s:%s' "$JIRA_EMAIL" "$JIRA_TOKEN" | sed 's/[\\"]/\\&/g; s/.*/user = "&"/' |
            curl --silent --show-error --config - --header 'Content-Type: application/json' \
                --data-binary @.sending --output ".$answer.part" --write-out '%{http_code}' \
                "${JIRA_URL%/}/rest/api/3/issue/bulk") || code=$?
        case "$code:$status" in
        [567]:*) # the site was not reached
            rm ".$answer.unknown"
            stop "$file: nothing was sent. Run this again once the site can be reached."
            ;;
        0:429)
            rm ".$answer.unknown"
            echo "Jira asks to wait; $file is sent again in ${WAIT_SECONDS:-30} s." >&2
            sleep "${WAIT_SECONDS:-30}"
            ;;
        0:201)
            mv ".$answer.part" "$answer"
            rm ".$answer.unknown"
            ;;
        0:4??)
            rm ".$answer.unknown"
            cat ".$answer.part" >&2
            stop "" "$file: Jira refused it (status $status) and made none of its issues."
            ;;
        *)
            stop "$file: Jira did not say whether it made the issues (curl $code, status $status)." \
                "Run this again to see what to do."
            ;;
        esac
    done
    rm -f .sending .parents
    echo "$file: $(keys_of "$answer" | wc -l | tr -d ' ') issues"
    if has_refusals "$answer"; then
        cat "$answer" >&2
        stop "" "$file: Jira refused some of its issues, and made the others; the reasons stand above." \
            "Make those by hand, or run the corrected documents of them as a new session." \
            "To go on with the next file, run this again."
    fi
done
echo "All files are sent. The answers name the keys; report.csv says which issue is which ticket."
