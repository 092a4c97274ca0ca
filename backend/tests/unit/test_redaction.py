"""Redaction: which secrets go, what stays readable, and that no text makes it slow.

One file of more than 450 lines: lists of shapes of secrets, and of harmless texts.
"""

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


RUN = "Zq9" + "aB3d" * 10  # what a token's random part looks like


LONG = "aB3dZq9x" * 13
HEX = "0a1b2c3d" * 16
UPPER = "QP7Z4XGF" * 8

KINDS = [
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
    f"run --password {RUN} --now",
    f"run --password={RUN}",
    f"run --db-password 'two {RUN}'",
    f"mysql -u root -p{RUN} db",
    f'the passphrase "correct horse {RUN}"',
    f"passphrase: 'correct horse {RUN}'",
    f"the password is {RUN}",
    f"Passwort: {RUN}",
    f"Das Kennwort ist {RUN}",
    *(
        "".join(parts) + RUN
        for parts in [
            ("GR13", "48941"),
            ("gls", "a_"),
            ("GOC", "SPX-"),
            ("PMA", "K-"),
            ("https://api.telegram.example/bo", "t123456789:"),
        ]
    ),
    f"7z x -p{RUN} a.7z",
    f"htpasswd -bc file user {RUN}",
    f"smbclient //host/share -U user%{RUN}",
    f"ansible-playbook -e ansible_become_pass={RUN}",
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
            "passord: ",
            "jelszó: ",
            "κωδικός πρόσβασης: ",
            "密碼: ",
            "पासवर्ड: ",
            "mật khẩu: ",
            "clave: ",
        ]
    ),
]
"""Kinds of secrets, with `RUN` in each."""


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        *((text, RUN) for text in KINDS),
        ("using mailgun key-§ for sending", "3ax6xnjp29jd6fds4gc373sgvjxteol0"),
        ("https://hooks.slack.com/workflows/T00000000/A00000000/123/§", LONG[:24]),
        ("POST https://discord.com/api/webhooks/123456789012345678/§ failed", LONG[:68]),
        ("https://acme.webhook.office.com/webhookb2/1-2@3/IncomingWebhook/§/x", HEX[:32]),
        ("shop said no to shpat_§", HEX[:32]),
        ("token sl.§ refused", LONG[:60]),
        ("lin_api_§ invalid", LONG[:40]),
        ("ntn_§ invalid", LONG[:46]),
        ("secret_§ invalid", LONG[:43]),
        ("figd_§ invalid", LONG[:40]),
        ("using ATATT3xFfGF0§=1A2B3C4D", LONG[:60]),
        ("ATBB§", LONG[:28]),
        ("gldt-§ invalid", LONG[:20]),
        ("glrt-§ invalid", LONG[:20]),
        ("glcbt-1_§ invalid", LONG[:20]),
        ("glft-§", LONG[:20]),
        ("vault token hvs.§ denied", LONG[:90]),
        ("dp.pt.§ is bad", LONG[:43]),
        ("pul-§", HEX[:40]),
        ("NRAK-§", UPPER[:27]),
        ("glc_§", LONG[:60]),
        ("dapi§ was refused", HEX[:32]),
        ("sq0atp-§", LONG[:22]),
        ("EAAA§", LONG[:60]),
        ("rubygems_§", HEX[:48]),
        ("dckr_pat_§", LONG[:27]),
        ("pscale_tkn_§", LONG[:43]),
        ("cio§", LONG[:32]),
        ("AGE-SECRET-KEY-1§", UPPER[:58]),
        ("gsk_§ was refused", LONG[:52]),
        ("pplx-§", LONG[:48]),
        ("r8_§", LONG[:37]),
        ("xai-§", LONG[:80]),
        ("dsn https://§@o1.ingest.sentry.io/123", HEX[:32]),
        ("sntrys_§", LONG[:80]),
        ("aws_secret_access_key = §", LONG[:40]),
        ("AWS_SECRET_ACCESS_KEY=§ python x.py", LONG[:40]),
        ("aws_session_token: §", LONG[:100]),
        (
            "https://b.s3.amazonaws.com/o?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/x&X-Amz-Signature=§&x=1",
            HEX[:64],
        ),
        ("https://storage.googleapis.com/b/o?X-Goog-Signature=§", HEX[:64]),
        ("https://d.cloudfront.net/x?Expires=1&Signature=§&Key-Pair-Id=K1", LONG[:60]),
        ("callback?code=§&state=xyz", LONG[:40]),
        ("GET /x?access_token=§&a=1", LONG[:30]),
        ('{"refresh_token": "§"}', LONG[:30]),
        ("grant_type=client_credentials&client_id=a&client_secret=§", LONG[:30]),
        ("client_assertion=§&x=1", LONG[:50]),
        ("Set-Cookie: sid=§; HttpOnly", LONG[:30]),
        ("X-Api-Key: §", LONG[:30]),
        ("apikey: §", LONG[:30]),
        ("x-amz-security-token: §", LONG[:60]),
        ("Proxy-Authorization: Basic §", "dXNlcjpwYXNzd29yZA=="),
        ('Authorization: Digest username="u", response="§"', HEX[:32]),
        ("PRIVATE-TOKEN: §", LONG[:20]),
        ("X-Auth: §", LONG[:30]),
        ("X-Vault-Token: §", LONG[:26]),
        ("Ocp-Apim-Subscription-Key: §", HEX[:32]),
        ("x-functions-key: §", LONG[:40]),
        ("Server=tcp:x;User ID=sa;Pwd=§;Encrypt=yes", "hunter2!x"),
        ("Driver={PG};Uid=u;Password={§};", "hun ter2;x"),
        ("jdbc:postgresql://h/db?user=u&password=§&ssl=true", "hunter2"),
        ("jdbc:oracle:thin:scott/§@//h:1521/x", "tigerpw1"),
        ("connection to \"host=h user=u password='§' dbname=d\" failed", "my pa ss"),
        ("host=h password='§' dbname=d", "it\\'s me"),
        ("amqp://guest:§@rabbit:5672//", "gu3st!x"),
        ("redis://:§@h:6379/0", "foobared"),
        ("mongodb+srv://u:§@cluster0.mongodb.net/?retry=true", "p%40ss"),
        ("ldapsearch -D cn=admin -w § -b dc=x", "adminpw12"),
        ("sshpass -p § ssh root@h", "hunter2"),
        ("sshpass -p'§' ssh root@h", "hunter2"),
        ("mysql -u root --password=§ db", "hunter2"),
        ("mysqldump -uroot -p§ db", "hunter2"),
        ("PGPASSWORD=§ psql -h x", "hunter2"),
        ("export DB_PASS=§", "hunter2"),
        ("MYSQL_PWD=§ mysql", "hunter2"),
        ("redis-cli -h x -a § ping", "foobared99"),
        ("curl -s -u admin:§ https://x", "s3cr3t"),
        ("curl --user=admin:§ https://x", "s3cr3t"),
        ("curl -H 'Authorization: Bearer §' https://x", LONG[:20]),
        ("curl -H 'X-Auth-Token: §' https://x", LONG[:20]),
        ("curl -d 'user=a&password=§' https://x", "s3cr3t"),
        ("wget --http-password=§ https://x", "s3cr3t"),
        ("wget --user u --password § https://x", "s3cr3t"),
        ("docker login -u me -p § registry", "s3cr3tpw"),
        ("az login --service-principal -u x -p § --tenant y", "s3cr3tpw1"),
        ("net use Z: \\\\srv\\x /user:dom\\u §", "P4ssw0rd!"),
        ("openssl rsa -in k.pem -passin pass:§", "s3cr3t"),
        ("unzip -P § a.zip", "s3cr3tpw9"),
        ("keytool -storepass § -list", "changeit9"),
        ("java -Djavax.net.ssl.keyStorePassword=§ -jar x", "changeit"),
        ("spring.datasource.password=§", "hunter2"),
        ("db:\n  password: §\n  host: x", "hunter2"),
        ('  db_password: "§"', "hun ter 2"),
        ("secret_key = '§'", "abc def"),
        ("smtp_pass = §", "hunter2"),
        ("secret_key_base: §", HEX),
        ("define('DB_PASSWORD', '§');", "hunter2"),
        ('const apiKey = "§";', LONG[:30]),
        ("connect(host='h', password='§')", "hunter2"),
        ("{'password': b'§'}", "hunter2"),
        (':password => "§"', "hunter2"),
        ("Config{User:u Password:§ Host:h}", "hunter2"),
        ('Config { user: "u", password: "§" }', "hunter2"),
        ('password: Some("§")', "hunter2"),
        ("Config[user=u, password=§, host=h]", "hunter2"),
        ("<db user='u' password='§'/>", "hunter2"),
        ("<ns:apiToken>§</ns:apiToken>", LONG[:20]),
        ("<secretKey>§</secretKey>", LONG[:20]),
        ("<password><![CDATA[§]]></password>", "hunter2"),
        ("hash $2b$12$§ does not match", LONG[:53]),
        ('"-----BEGIN PRIVATE KEY-----\\n§\\n-----END PRIVATE KEY-----\\n"', LONG[:64]),
        ("PuTTY-User-Key-File-2: ssh-rsa\nPrivate-Lines: 1\n§\nPrivate-MAC: x", LONG[:64]),
        ('{"kty":"RSA","d":"§","n":"abc"}', LONG[:60]),
        ("Das Passwort lautet §", "hunter2x"),
        ("Passwort für bob: §", "hunter2"),
        ("Kennwort ist §", "hunter2x"),
        ("Zugangsschlüssel: §", LONG[:20]),
        ("PIN: §", "4711"),
        ("Geheimnis: §", LONG[:16]),
        ("mot de passe : §", "hunter2"),
        ("Le mot de passe est §", "hunter2x"),
        ("mdp=§", "hunter2"),
        ("clé secrète : §", LONG[:16]),
        ("contraseña: §", "hunter2"),
        ("La contraseña es §", "hunter2x"),
        ("la password è §", "hunter2x"),
        ("senha: §", "hunter2"),
        ("A senha é §", "hunter2x"),
        ("wachtwoord: §", "hunter2"),
        ("Het wachtwoord is §", "hunter2x"),
        ("hasło: §", "hunter2"),
        ("lösenord: §", "hunter2"),
        ("adgangskode: §", "hunter2"),
        ("salasana: §", "hunter2"),
        ("heslo: §", "hunter2"),
        ("şifre: §", "hunter2"),
        ("parola: §", "hunter2"),
        ("пароль: §", "hunter2"),
        ("Пароль=§", "hunter2"),
        ("密码\uff1a§", "hunter2"),
        ("密码: §", "hunter2"),
        ("パスワード\uff1a§", "hunter2"),
        ("비밀번호: §", "hunter2"),
        ("كلمة المرور: §", "hunter2"),
        ("סיסמה: §", "hunter2"),
        ("κωδικός: §", "hunter2"),
        ('invalid password "§" for user bob', "hunter2"),
        ("login failed for bob with password §", "Hunter2!"),
        ('passphrase is "§"', "correct horse battery staple"),
        ("API key: §", LONG[:20]),
        ("api key §  is invalid", LONG[:24]),
        ("using token § for jira", LONG[:24]),
        ("Incorrect API key provided: §", LONG[:30]),
        ("secret is §", LONG[:20]),
        ("otp=§", "493028"),
        ("password%3D§%26x", "hunter2"),
        ('{"body": "{\\"password\\": \\"§\\"}"}', "hunter2"),
        ('{\\\\\\"token\\\\\\": \\\\\\"§\\\\\\"}', "hunter2"),
        ("{'authorization': 'Token §'}", LONG[:20]),
        ("[('authorization', 'Token §')]", LONG[:20]),
        ("[(b'authorization', b'Token §')]", LONG[:20]),
        ("('x-api-key', '§')", LONG[:20]),
        ('{"name": "X-Api-Key", "value": "§"}', LONG[:20]),
        ("- name: DB_PASSWORD\n  value: §", "hunter2"),
        ("environ({'PATH': '/x', 'DB_PASSWORD': '§'})", "hunter2"),
        ("https://u%40x:§@h/", "p%23w"),
        ("fatal: unable to access 'https://oauth2:§@gitlab.com/x.git/'", LONG[:20]),
        ("https://x-access-token:§@github.com/x", LONG[:20]),
        ("https://__token__:§@pypi.x/simple", LONG[:20]),
        ("//registry.example.org/:_authToken=§", LONG[:36]),
        ("_auth=§", "dXNlcjpwYXNz"),
        ("machine h login u password §", "hunter2x"),
        ('{"auths":{"r":{"auth":"§"}}}', "dXNlcjpwYXNz"),
        ("client-key-data: §", LONG[:40]),
        ("    token: §", LONG[:40]),
        ("wpa_psk=§", LONG[:20]),
        ('psk="§"', "my wifi pass"),
        ("ALTER ROLE bob PASSWORD '§'", "hunter2"),
        ("CREATE USER bob IDENTIFIED BY '§'", "hunter2"),
        ("[parameters: {'password': '§'}]", "hunter2"),
        ("AUTH PLAIN §", "AHVzZXIAcGFzc3dvcmQ="),
        ("ConvertTo-SecureString '§' -AsPlainText", "hunter2x"),
        ("-Password §", "hunter2x"),
        ("schtasks /create /ru u /rp § /tn x", "hunter2x"),
    ],
)
def test_secret_is_replaced_wherever_it_stands(text: str, secret: str) -> None:
    redacted = redact_text(text.replace("§", secret))
    assert secret not in redacted
    assert not [word for word in secret.split() if len(word) > 5 and word in redacted]
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
        "Password must be at least 8 characters long",
        "The password is required",
        "The password is too short",
        "password is incorrect",
        "The token is expired",
        "Unexpected token < in JSON at position 0",
        "Unexpected token: punc ({)",
        "SyntaxError: invalid token at line 3",
        "CSRF token missing or incorrect",
        "max_tokens: 4096",
        "tokens: 1200 of 8000 used",
        "key=value pairs are joined",
        "Primary key: id",
        "foreign key (session_id) references sessions (id)",
        'duplicate key value violates unique constraint "uq_session_tasks_session_id"',
        "Key (session_id)=(0195cf62-3b1e-7c44-9b34-1f2d3c4b5a69) already exists.",
        "public key: ssh-ed25519 fingerprint SHA256:abc",
        "Ticket PROJ-123: pin the header to the top",
        "pin: the header",
        "Basic authentication is not supported",
        "Bearer of bad news",
        "the bearer token is missing",
        "https://example.com/a?page=2&sort=key",
        "https://example.com:8443/path@v2/x",
        "http://localhost:8000/sessions/0195cf62",
        "git@github.com:acme/app.git",
        "ssh://git@host/repo",
        "mailto:bob@example.com",
        "see https://acme.atlassian.net/browse/PROJ-1?focusedCommentId=10001",
        "commit 57ef6a2f9d3b1c0e8a7f6d5c4b3a291807f6e5d4 is not in main",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "uuid 0195cf62-3b1e-7c44-9b34-1f2d3c4b5a69",
        "asian markets, asia, akia",
        "The secretary has signed",
        "skip-worktree",
        "task-runner",
        "sk-learn",
        "npm_config_registry",
        "pass the salt",
        "the pass rate is 93 %",
        "passed=12 failed=3",
        "Passwort vergessen? Hier klicken",
        "Passwort muss geändert werden",
        "Das Passwort ist abgelaufen",
        "mot de passe oublié ?",
        "Le mot de passe est obligatoire",
        "la contraseña es obligatoria",
        "clave primaria: id",
        "clave: valor",
        "密码不能为空",
        "パスワードを忘れた場合",
        "пароль должен быть длиннее",
        "senha incorreta",
        "wachtwoord vergeten",
        "author: Jane Doe",
        "authors = 3",
        "cookies are disabled",
        "the cookie banner covers the button",
        "sig=none",
        "signature: def f(x)",
        "the API key is missing",
        "api keys are listed below",
        "secret santa: list of names",
        "tokenizer: gpt2",
        "code=404",
        "code: E501",
        "error code=PGRST116",
        "status=401 state=closed",
        "session: 0195cf62-3b1e-7c44-9b34-1f2d3c4b5a69",
        "auth: none",
        "--password-file /run/secrets/db",
        "use --token to pass a token",
        "-p 5432",
        "psql -p 5432 -U u",
        "docker run -p 8080:80 x",
        "ssh -p 2222 host",
        "mkdir -p backend/app",
        "cp -p a b",
        "curl -u is missing",
        "unzip -P is unsafe",
        "PASS tests/test_a.py",
        "PASS backend/app/x_test.go",
        "LOGIN required",
        "hash of 12 words",
        "$2 per seat, $12$ per year",
        "a1: LOGIN",
        "psk is not set",
        "key-value store",
        "keyboard: qwerty",
        "monkey: banana",
        "turkey=Ankara",
        "hockey: score",
        "pins: 12",
        "shipping=free",
        "spin=3",
        "bot12:34",
        "The value of parola is unknown",
        "hash: 5",
        "password: null",
        "password: none",
        '"password": {"type": "string"}',
        "token_type: bearer",
        "token_type=bearer",
        '"token_endpoint": "https://idp/x"',
        "tokens_per_minute=3000",
    ],
)
def test_harmless_text_stays_whole(text: str) -> None:
    assert redact_text(text) == text


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
        "wpa_psk",
        "otp",
        "Senha",
        "пароль",
        "client-key-data",
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
        "mysql ", "curl -u ", "curl -u a", "curl", "mysql", "--password ", "--", "<password>",
        "<a</", "password is ", 'password "', "?key=", "sk-", "SG.aaaaaaaaaaaaaaaa", "pin=",
        "sig=", "sshpass -p", "7z ", 'name="password"', "mot de passe ", "パスワード ", "hvs.",
        "gsk_a", "bot123456:", ":5432:a:", "password=a(", "%3Dtoken%3D", "a", "://", "://a:",
        "http://a:b@", "password=", 'password="', "password='\\", "token ", "\\", "secret_",
        "eyJ", "eyJaaaaaaaa.", "st_", "st_a-", "-----BEGIN PRIVATE KEY-----", "bearer ", "basic ",
        "ghp_", "authorization:", "cookie\\", "AKIA", "@", "xoxb-", "api_", "token=b",
        "password secret token key :// bearer basic st_ gh eyj authorization private key ",
        "sshpass -p ", "login -p", "net use /user:", "with password ", "secret is aB1",
        "token aB", "('token', '", "name: token value: ", '"d":"', "$2a$10$", "SCRAM-SHA-256$1:",
        "auth=aaaa", "pl.AAAA:AA", "ldap x -w", "identified by '", "oracle:a:", 'password=["',
        "password={", "api key provided for ", "пароль ", "code=", "sig", "key-",
    ],
)  # fmt: skip
def test_hostile_text_of_200_kilobytes_takes_under_a_second(unit: str) -> None:
    """A pattern of quadratic time would take minutes."""
    text = unit * (200_000 // len(unit))
    before = time.process_time()
    redact_text(text)
    assert time.process_time() - before < 1
