"""Install the receiver in your Fiji, or start an ImageJ that receives: ``polystore-fiji``."""

from __future__ import annotations

import argparse
import io
import json
import sys

from polystore_core.errors import PolystoreError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Return 2 if it fails."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path may have characters that the terminal cannot show. They must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        result, text = options.run(options)
    except (PolystoreError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=2) if options.json else text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="polystore-fiji", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument(
        "--fiji",
        required=True,
        metavar="PATH",
        help="a folder of Fiji or ImageJ, such as ~/Fiji.app",
    )
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("--json", action="store_true", help="print one JSON object")

    about = "copy the receiver into plugins/, and replace older ones"
    command = commands.add_parser("install", parents=[folder, output], help=about)
    command.set_defaults(run=_install)
    about = "remove the receiver from plugins/, and nothing else"
    command = commands.add_parser("uninstall", parents=[folder, output], help=about)
    command.set_defaults(run=_uninstall)

    about = "start an ImageJ or Fiji that receives (by default one that is found)"
    command = commands.add_parser("launch", parents=[output], help=about)
    which = command.add_mutually_exclusive_group()
    which.add_argument("--fiji", metavar="PATH", help="a folder of Fiji or ImageJ")
    which.add_argument("--ij", metavar="JAR", help="an ij.jar")
    command.add_argument("--headless", action="store_true", help="open no windows")
    command.add_argument(
        "--name", default="default", help="its name for backends (%(default)s)"
    )
    command.add_argument("--timeout", type=float, default=60.0, help="in seconds (%(default)s)")
    command.set_defaults(run=_launch)
    return parser


def _install(options: argparse.Namespace) -> tuple[dict[str, object], str]:
    from .install import install
    from .jars import find_own_jar

    target, replaced = install(options.fiji)
    jar = find_own_jar()
    lines = [f"{target}: receiver {jar}"]
    lines += [f"replaced {path}" for path in replaced]
    lines += ["Restart it, then choose Plugins > polystore > Receive from polystore"]
    result: dict[str, object] = {
        "installed": str(target),
        "version": jar.version,
        "protocol": ".".join(map(str, jar.protocol)),
        "replaced": [str(path) for path in replaced],
    }
    return result, "\n".join(lines)


def _uninstall(options: argparse.Namespace) -> tuple[dict[str, object], str]:
    from .install import uninstall

    removed = [str(path) for path in uninstall(options.fiji)]
    text = "\n".join(f"removed {path}" for path in removed)
    return {"removed": removed}, text or f"{options.fiji} does not have a receiver"


def _launch(options: argparse.Namespace) -> tuple[dict[str, object], str]:
    from .launching import launch

    endpoint = launch(
        options.name,
        fiji=options.fiji,
        ij=options.ij,
        headless=options.headless,
        timeout=options.timeout,
    )
    result: dict[str, object] = {
        "name": endpoint.name,
        "pid": endpoint.pid,
        "address": endpoint.address,
    }
    return result, f"{endpoint.title} receives at {endpoint.address}"


if __name__ == "__main__":
    sys.exit(main())
