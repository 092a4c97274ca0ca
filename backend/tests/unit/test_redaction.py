"""Redaction: which secrets go, what stays readable, and that no text makes it slow."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.redaction import REDACTED, redact, redact_text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlc2lnbmF0dXJl"
PRIVATE_KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\nq1w2e3\n-----END RSA PRIVATE KEY-----"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://app:s3cret@db:5432/x", f"postgresql://app:{REDACTED}@db:5432/x"),
        ("amqp://guest:s3cret@mq//", f"amqp://guest:{REDACTED}@mq//"),
        ("redis://:s3cret@cache:6379/0", f"redis://:{REDACTED}@cache:6379/0"),
        ("a://b://u:s3cret@h", f"a://b://u:{REDACTED}@h"),
        ("at postgresql://u:p@s3cret/x@db/x!", f"at postgresql://u:{REDACTED}@db/x!"),
        ("amqp://me@example.com:s3cret@mq", f"amqp://me@example.com:{REDACTED}@mq"),
        ("https://s3cret@sentry.example/1", f"https://{REDACTED}@sentry.example/1"),
        ("https://s3cret@host:8443/1", f"https://{REDACTED}@host:8443/1"),
        ("{'url': 'a://u:s3cret@h', 'x': 'y@z'}", f"{{'url': 'a://u:{REDACTED}@h', 'x': 'y@z'}}"),
        ("Authorization: Bearer s3cret.s3cret", f"Authorization: {REDACTED}"),
        ('Authorization: Digest username="a", response="s3cret"', f"Authorization: {REDACTED}"),
        (
            "{'Authorization': b'Basic s3cret', 'A': 1}",
            f"{{'Authorization': b'{REDACTED}', 'A': 1}}",
        ),
        ("Set-Cookie: a=s3cret; b=s3cret\nHost: x", f"Set-Cookie: {REDACTED}\nHost: x"),
        ("sent Bearer s3cret-s3cret", f"sent Bearer {REDACTED}"),
        ("sent Basic dXNlcjpzM2NyZXQ= to x", f"sent Basic {REDACTED} to x"),
        ("host=db password=s3cret user=app", f"host=db password={REDACTED} user=app"),
        ('PGPASSWORD="s3cret with \\" quote" psql', f'PGPASSWORD="{REDACTED}" psql'),
        ("password: 's3cret never closed\nnext", f"password: '{REDACTED}\nnext"),
        ("connect(api_key=b's3cret', x=1)", f"connect(api_key=b'{REDACTED}', x=1)"),
        ('{"client_secret": "s3cret", "n": 1}', f'{{"client_secret": "{REDACTED}", "n": 1}}'),
        ("secret-key => s3cret", f"secret-key => {REDACTED}"),
        ("the token: s3cret", f"the token: {REDACTED}"),
        ("X-Auth-Token: s3cret", f"X-Auth-Token: {REDACTED}"),
        ("key st_01J8Z.abcdefghijklmnopqrstuv_-", f"key st_01J8Z.{REDACTED}"),
        ("AKIAIOSFODNN7EXAMPLE", REDACTED),
        ("x ghp_" + "a1" * 18, f"x {REDACTED}"),
        ("github_pat_" + "a1_" * 20, REDACTED),
        ("xoxb-123456789012-abcdefghij", REDACTED),
        ("ATATT3xFfGF0" + "a-_=" * 10, REDACTED),
        (f"({JWT})", f"({REDACTED})"),
        (f"before {PRIVATE_KEY} after", f"before {REDACTED} after"),
        (PRIVATE_KEY.partition("-----END")[0], REDACTED),
    ],
)
def test_secret_is_replaced_and_the_rest_stays(text: str, expected: str) -> None:
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        'password authentication failed for user "app"',
        "Basic authentication is required",
        "http://localhost:8080/@scope/package",
        "http://[::1]:8080/a@b",
        "ssh://git@example.com/x",
        "SessionTask processing started for session 0f, task_id: 1e",
        "KeyError: 'token'",
        "os.stat_result(st_mode=33188, st_ino=1)",
        'password=""',
        "monkey: banana; author: me@example.com",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def seconds_of(unit: str, *, characters: int) -> float:
    """Seconds of CPU time to redact a text of this unit, repeated."""
    text = unit * (characters // len(unit))
    before = time.process_time()
    redact_text(text)
    return time.process_time() - before


RUN = "Zq9" + "aB3d" * 10  # what a token's random part looks like


@pytest.mark.parametrize(
    "text",
    [
        *(
            "".join(parts) + RUN
            for parts in [
                ("AI", "za"),
                ("ya", "29."),
                ("sk_", "live_"),
                ("rk_", "live_"),
                ("wh", "sec_"),
                ("sk", "-"),
                ("sk-", "proj-"),
                ("sk-", "ant-api03-"),
                ("np", "m_"),
                ("py", "pi-"),
                ("do", "p_v1_"),
                ("h", "f_"),
                ("xo", "xb-"),
                ("gh", "p_"),
                ("gl", "pat-"),
                ("AT", "ATT"),
            ]
        ),
        "S" + "G." + RUN + "." + RUN,
        "AccountName=a;Account" + f"Key={RUN}==;EndpointSuffix=x",
        f"https://a.example/c?sv=2020&sig={RUN}%3D",
        f"https://a.example/c?key={RUN}&x=1",
        f"https://a.example/c?x=1&api_key={RUN}",
        f"<password>{RUN}</password>",
        f"run --password {RUN} --now",
        f"run --password={RUN}",
        f"run --db-password 'two {RUN}'",
        f"mysql -u root -p{RUN} db",
        f"curl -s -u user:{RUN} https://a.example",
        f'the passphrase "correct horse {RUN}"',
        f"passphrase: 'correct horse {RUN}'",
        f"the password is {RUN}",
        f"Passwort: {RUN}",
        f"Das Kennwort ist {RUN}",
        *(
            "".join(parts) + RUN
            for parts in [
                ("gld", "t-"),
                ("GR13", "48941"),
                ("dckr", "_pat_"),
                ("shp", "at_"),
                ("sq0", "atp-"),
                ("gls", "a_"),
                ("hv", "s."),
                ("lin_", "api_"),
                ("nt", "n_"),
                ("fig", "d_"),
                ("sntry", "s_"),
                ("gs", "k_"),
                ("xa", "i-"),
                ("GOC", "SPX-"),
                ("PMA", "K-"),
                ("dp.", "pt."),
                ("r", "8_"),
                ("psc", "ale_tkn_"),
                ("https://discord.example/api/web", "hooks/123456789012/"),
                ("https://api.telegram.example/bo", "t123456789:"),
                ("https://x.webhook.off", "ice.com/webhookb2/"),
                ("x?a=1&X-Amz-Sig", "nature="),
                ("Ocp-Apim-Subscription-K", "ey: "),
            ]
        ),
        f"sshpass -p {RUN} ssh root@host",
        f"docker login -u me -p {RUN} registry.example",
        f"redis-cli -h host -a {RUN} ping",
        f"unzip -P {RUN} a.zip",
        f"7z x -p{RUN} a.7z",
        f"ldapsearch -D cn=a -w {RUN} -b x",
        f"htpasswd -bc file user {RUN}",
        f"smbclient //host/share -U user%{RUN}",
        f"openssl rsa -in k -passin pass:{RUN}",
        f"ansible-playbook -e ansible_become_pass={RUN}",
        f"CREATE USER a IDENTIFIED BY '{RUN}'",
        f"jdbc:oracle:thin:scott/{RUN}@host:1521/x",
        f"machine host login me password {RUN}",
        f"db.example:5432:app:me:{RUN}",
        f"Settings(password=SecretStr('{RUN}'))",
        f'{{"user": "a", "pass": "{RUN}"}}',
        f"smtpPass: {RUN}",
        f"%22password%22%3A%22{RUN}%22",
        f'name="password"\r\n\r\n{RUN}\r\n--x',
        *(
            f"{words}{RUN}"
            for words in [
                "mot de passe : ",
                "Le mot de passe est ",
                "contraseña: ",
                "La contraseña es ",
                "senha: ",
                "wachtwoord: ",
                "lösenord: ",
                "adgangskode: ",
                "passord: ",
                "salasana: ",
                "hasło: ",
                "heslo: ",
                "jelszó: ",
                "şifre: ",
                "parola: ",
                "Пароль: ",
                "κωδικός πρόσβασης: ",
                "パスワード\uff1a",
                "密码\uff1a",
                "密碼: ",
                "비밀번호: ",
                "كلمة المرور: ",
                "סיסמה: ",
                "पासवर्ड: ",
                "mật khẩu: ",
                "Das Passwort lautet ",
                "clave: ",
            ]
        ),
    ],
)
def test_kind_of_secret_is_replaced(text: str) -> None:
    redacted = redact_text(f"see {text}")
    assert RUN not in redacted
    assert REDACTED in redacted
    assert redact_text(redacted) == redacted


@pytest.mark.parametrize(
    "secret",
    [
        "pin=1234",
        "PIN: 123456",
        "PIN ist 4321",
        "otp=123321",
        "your verification code is 123123",
        "S" + "K" + "0af1" * 8,
    ],
)
def test_short_or_hexadecimal_secret_is_replaced(secret: str) -> None:
    assert REDACTED in redact_text(secret)
    assert not set("123") & set(redact_text(secret))


@pytest.mark.parametrize(
    "text",
    [
        "the password was wrong",
        "the password is required, and the password is 8 letters",
        "sig figures",
        "monkey=1",
        "pin board, spin=1234",
        "keyboard",
        "123e4567-e89b-12d3-a456-426614174000",
        "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
        "task-processing-of-a-rather-long-name, risk-aaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "the option --token is missing; --password must be given",
        "npm_config_registry, hf_hub, mysql -u root -p",
        "max_tokens=4096, tokens used: 512",
        "Unexpected token: }",
        "the pass: second; compass: north; pass 2 of 3",
        "<pin>board</pin>",
        "mot de passe oublié, wachtwoord vergeten, heslo bylo změněno",
        "exit code is 137, code is 482913 bytes",
        "docker login succeeded, mkdir -p a/b, ssh -p 2222 host",
        "secret_ballot_of_a_rather_long_name, figd, pat Smith, lin_api_client_of_a_long_name",
        "/usr/lib/python3/site-packages/sqlalchemy/engine/base.py:12:34",
        "path/to/documents/report_2024.csv: row 3",
        "https://example.com/path/1/22/333/4444/list",
        "patients/2024/january/list-of-all.csv, pattern-matching-of-2024-documents",
        "cio-report-2024-quarter-three-final.csv, secret_santa_list_2024_december.csv",
        "EAA2024-regulation-on-accessibility.docx, vcp_2024_report_final_version.csv",
        "sl.2024-quarter-report-final-version.pdf, pul-2024-report-final-version.pdf",
        "login admin password reset page",
    ],
)
def test_prose_and_ids_stay(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "unit",
    [
        "mysql ",
        "curl -u ",
        "curl -u a",
        "curl",
        "mysql",
        "--password ",
        "--",
        "<password>",
        "<a</",
        "password is ",
        'password "',
        "?key=",
        "sk-",
        "SG.aaaaaaaaaaaaaaaa",
        "pin=",
        "sig=",
        "sshpass -p",
        "7z ",
        'name="password"',
        "mot de passe ",
        "パスワード ",
        "hvs.",
        "gsk_a",
        "bot123456:",
        ":5432:a:",
        "password=a(",
        "%3Dtoken%3D",
    ],
)
def test_hostile_text_of_200_kilobytes_takes_under_a_second(unit: str) -> None:
    assert seconds_of(unit, characters=200_000) < 1


def test_secret_in_json_inside_json_is_replaced() -> None:
    inner = json.dumps({"token": "s3cret two words", "n": 1})
    redacted = redact_text(json.dumps({"body": inner}))
    assert "s3cret" not in redacted
    assert "two words" not in redacted


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "DB_PASSWORD",
        "token",
        "authToken",
        "client-secret",
        "Authorization",
        "apiKey",
        "X-Api-Key",
        "Cookie",
        "sentry_dsn",
        "AWS_SECRET_ACCESS_KEY",
        "credentials",
        "private_key",
        "smtpPass",
        "contraseña",
        "密码",
        "passcode",
        "token_1",
        "Ocp-Apim-Subscription-Key",
    ],
)
@pytest.mark.parametrize("value", ["s3cret", 12345, ["s3cret"], {"a": "s3cret"}])
def test_value_under_a_telling_key_is_hidden(key: str, value: Any) -> None:
    assert redact({"deep": [{key: value}]}) == {"deep": [{key: REDACTED}]}


def test_keys_and_values_that_tell_nothing_stay() -> None:
    value = {
        "session_id": "1",
        "keyboard": "x",
        "author": "y",
        "compass": "n",
        "max_tokens": 4096,
        "rows": [1, 2.5, None, True],
    }
    assert redact(value) == value
    assert redact({"password": None, "token": "", "secret": False}) == {
        "password": None,
        "token": "",
        "secret": False,
    }


def test_what_is_nested_too_deep_to_read_is_hidden() -> None:
    value: Any = "s3cret"
    for _ in range(5_000):
        value = [value]
    redacted = redact(value)
    assert REDACTED in json.dumps(redacted)


fragments = st.sampled_from(
    [
        "password",
        "token",
        "secret_",
        "api",
        "_",
        "key",
        "=",
        ":",
        "://",
        "@",
        "/",
        " ",
        "\n",
        '"',
        "'",
        "\\",
        "bearer ",
        "Basic ",
        "dTpw",
        "st_",
        ".",
        "eyJ",
        "a" * 10,
        "1",
        "b",
        "=>",
        "x",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "AKIA",
        "A" * 16,
        "ghp_",
        "http",
        "cookie",
        "authorization",
        "ATATT",
        "-",
        "[",
        "]",
        REDACTED,
        "xoxb-",
        "?",
        "&",
        "--",
        "mysql -p",
        "curl -u a:",
        "sk-",
        "?key=",
        "pin=1234",
        "sig=",
        "password is ",
        "</",
        "<token>",
        "_pass",
        "sshpass -p ",
        "pass:",
        "SecretStr('",
        "senha: ",
        "密码",
        "gsk_" + "a1" * 10,
        "%3D",
        "bot1234567:",
        ":5432:a:b:",
        "login a password ",
        'name="token"\n',
        "code is 1234",
    ]
)
hard_texts = st.lists(fragments, max_size=25).map("".join) | st.text()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | hard_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hard_texts, inner, max_size=3),
    max_leaves=8,
)


@given(hard_texts)
@example(
    "AKIA" + "A" * 16 + "eyJhbGciOiJI.c2lnbmF0dXJl"
)  # one replacement makes the boundary that the other needs
@example(f"http://user:{PRIVATE_KEY}@host")  # one removes the white space that ends the other
@example("token: bearer abcdefgh")
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


@given(json_values)
def test_redacting_a_value_twice_changes_nothing_more(value: Any) -> None:
    once = redact(value)
    assert redact(once) == once


@given(
    before=st.sampled_from(["", " ", "x", "\n", "(", '{"a": 1, ']),
    name=st.sampled_from(["password", "db_password", "TOKEN", "api-key", "client_secret"]),
    separator=st.sampled_from(["=", ": ", " = ", " => ", '": "', "': '", '\\": \\"']),
    secret=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12),
)
def test_named_secret_never_survives(before: str, name: str, separator: str, secret: str) -> None:
    marked = "Zq9" + secret
    assert marked not in redact_text(f"{before}{name}{separator}{marked}")


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "://",
        "://a:",
        "http://a:b@",
        "password=",
        'password="',
        "password='\\",
        "token ",
        "\\",
        "secret_",
        "eyJ",
        "eyJaaaaaaaa.",
        "st_",
        "st_a-",
        "-----BEGIN PRIVATE KEY-----",
        "bearer ",
        "basic ",
        "ghp_",
        "authorization:",
        "cookie\\",
        "AKIA",
        "@",
        "xoxb-",
        "api_",
        "token=b",
        "password secret token key :// bearer basic st_ gh eyj authorization private key ",
    ],
)
def test_time_grows_in_line_with_the_text(unit: str) -> None:
    """A hostile text of 1 MB takes seconds at worst; quadratic patterns would take hours."""
    assert seconds_of(unit, characters=1_000_000) < 10
