"""Ends with 0 when the service in this container is ready, else with 1 and why."""

import os
import ssl
import sys
import urllib.error
import urllib.request


def main() -> None:
    """Ask `/readyz` as this container's own settings say."""
    encrypted = bool(os.environ.get("ALLOYSORT_TLS_CERTIFICATE"))
    port = os.environ.get("ALLOYSORT_PORT", "")
    url = f"{'https' if encrypted else 'http'}://127.0.0.1:{port if port.isdigit() else 8000}/readyz"
    # the certificate names the plant's host, not the loopback that nobody else can answer on
    unnamed = ssl._create_unverified_context() if encrypted else None  # noqa: S323 (as above)
    try:
        urllib.request.urlopen(url, timeout=4, context=unnamed).close()  # noqa: S310 (http or https, as above)
    except urllib.error.HTTPError as error:
        with error:
            sys.exit(f"{url}: {error.code} {error.read(500).decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"{url}: {error}")


if __name__ == "__main__":
    main()
