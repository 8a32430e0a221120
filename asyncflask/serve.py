"""The application that ``FLASK_APP`` names, for any server: ``uvicorn asyncflask.serve:app``.

Code that imports ``flask`` gets this package, so an application of Flask's is served as it is. It
is found as the ``asyncflask`` program finds it, with the same variables and files.
"""

from __future__ import annotations

import os

from .devserver import FROM_COMMAND_VARIABLE
from .discovery import load_dotenv
from .discovery import NoAppException
from .discovery import ScriptInfo
from .flask_alias import install_as_flask
from .helpers import get_load_dotenv


def _load_env_files() -> None:
    path = os.environ.get("FLASK_ENV_FILE")
    if path is not None and not os.path.isfile(path):
        raise NoAppException(f"FLASK_ENV_FILE names {path!r}, which is no file: mend or unset it.")
    defaults = get_load_dotenv()
    if path is not None or defaults:
        load_dotenv(path, load_defaults=defaults)


install_as_flask()
_load_env_files()
# An unguarded app.run() in the module must not start another server.
os.environ[FROM_COMMAND_VARIABLE] = "true"

#: What a server is to serve.
app = ScriptInfo(app_import_path=os.environ.get("FLASK_APP")).load_app()
