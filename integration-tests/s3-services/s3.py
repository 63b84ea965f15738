"""Asks an S3 service for what a test needs: s3.py ENDPOINT ready | make BUCKET | versioning BUCKET STATE.

Standard library only; requests are signed as AWS Signature Version 4 says.
"""
import datetime, hashlib, hmac, os, sys, time, urllib.error, urllib.request

endpoint, what, *rest = sys.argv[1:]
access, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
host = endpoint.removeprefix("http://")


def put(path, query="", body=b""):
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = hashlib.sha256(body).hexdigest()
    signed = "host;x-amz-content-sha256;x-amz-date"
    request = f"PUT\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{stamp}\n\n{signed}\n{digest}"
    scope = f"{day}/us-east-1/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (day, "us-east-1", "s3", "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    headers = {
        "x-amz-date": stamp,
        "x-amz-content-sha256": digest,
        # Without it moto takes the body for a form.
        "Content-Type": "application/xml",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={signed}, Signature={key.hex()}",
    }
    url = endpoint + path + (f"?{query}" if query else "")
    urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT", headers=headers), timeout=5).read()


def repeat(call):
    """Until the service takes it: some answer before they have room for a write."""
    deadline = time.monotonic() + 90
    while True:
        try:
            return call()
        except OSError as failure:
            if getattr(failure, "code", None) == 409:
                return None
            if time.monotonic() > deadline:
                sys.exit(f"{endpoint} does not do `{what}`: {failure}")
            time.sleep(0.2)


if what == "make":
    repeat(lambda: put(f"/{rest[0]}"))
    repeat(lambda: put(f"/{rest[0]}/ready"))
elif what == "versioning":
    state = f'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>{rest[1]}</Status></VersioningConfiguration>'
    repeat(lambda: put(f"/{rest[0]}", "versioning=", state.encode()))
elif what == "ready":
    repeat(lambda: put("/ready"))
    repeat(lambda: put("/ready/ready"))
else:
    sys.exit(f"not known: {what}")
