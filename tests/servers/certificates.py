"""A certificate authority for one test folder, and what it signed: made by openssl, gone with the folder."""
import pathlib
import subprocess

SERVER = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\nextendedKeyUsage=serverAuth\n"
CLIENT = "extendedKeyUsage=clientAuth\n"
DAYS = "30"


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {words[0]}: {done.stderr.strip()}")


def authority(folder, name="ca"):
    """NAME.key and NAME.pem."""
    folder = pathlib.Path(folder)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", DAYS, "-subj", f"/CN=tcpdiag-test-{name}",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")


def leaf(folder, name, subject, extensions, signer="ca"):
    """NAME.key (PKCS#8) and NAME.pem, signed by an authority of the folder."""
    folder = pathlib.Path(folder)
    request, extra = folder / f"{name}.csr", folder / f"{name}.ext"
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={subject}", "-keyout", folder / f"{name}.key", "-out", request)
    extra.write_text(extensions)
    openssl("x509", "-req", "-in", request, "-CA", folder / f"{signer}.pem", "-CAkey", folder / f"{signer}.key", "-CAcreateserial",
            "-days", DAYS, "-extfile", extra, "-out", folder / f"{name}.pem")


def make(folder):
    """ca, server, client; and a foreign authority, other, with a client of its own."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    authority(folder)
    authority(folder, "other")
    leaf(folder, "server", "localhost", SERVER)
    leaf(folder, "client", "agent", CLIENT)
    leaf(folder, "stranger", "stranger", CLIENT, signer="other")
    return folder
