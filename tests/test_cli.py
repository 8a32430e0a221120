from __future__ import annotations

import json
import os
import platform
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import types
import urllib.request
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from asyncflask import Flask
from asyncflask.cli import AppGroup
from asyncflask.cli import cli
from asyncflask.cli import find_app_by_string
from asyncflask.cli import find_best_app
from asyncflask.cli import FlaskGroup
from asyncflask.cli import load_dotenv
from asyncflask.cli import locate_app
from asyncflask.cli import NoAppException
from asyncflask.cli import prepare_import
from asyncflask.cli import run_command
from asyncflask.cli import ScriptInfo
from asyncflask.cli import SeparatedPathType
from asyncflask.cli import show_server_banner
from asyncflask.cli import with_appcontext
from asyncflask.debugger import Debugger
from asyncflask.globals import current_app


@pytest.fixture
def runner():
    return CliRunner()


@pytest.fixture
def app():
    return Flask("shown", static_folder=None)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory to write modules into, which nothing of stays imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    modules = set(sys.modules)
    environ = dict(os.environ)

    def write(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return tmp_path

    yield write
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]
    os.environ.clear()
    os.environ.update(environ)


def module_with(**names):
    module = types.ModuleType("some_module")
    vars(module).update(names)
    return module


# Finding the application


@pytest.mark.parametrize("name", ["app", "application", "something"])
def test_find_best_app_finds_an_instance(app, name):
    assert find_best_app(module_with(**{name: app})) is app


@pytest.mark.parametrize("name", ["create_app", "make_app"])
def test_find_best_app_calls_a_factory(app, name):
    assert find_best_app(module_with(**{name: lambda: app})) is app


def test_find_best_app_awaits_an_async_factory(app):
    async def create_app():
        return app

    assert find_best_app(module_with(create_app=create_app)) is app


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ({}, "neither an application nor a factory"),
        ({"a": Flask("a"), "b": Flask("b")}, "has 2 applications"),
        ({"create_app": lambda needed: None}, "without arguments"),
    ],
)
def test_find_best_app_says_what_to_do(names, complaint):
    with pytest.raises(NoAppException, match=complaint) as caught:
        find_best_app(module_with(**names))
    assert "some_module:" in caught.value.message


def test_type_error_inside_a_factory_is_its_own():
    def create_app():
        raise TypeError("of the factory")

    with pytest.raises(TypeError, match="of the factory"):
        find_best_app(module_with(create_app=create_app))


@pytest.mark.parametrize(
    "expression",
    ["made", "make", "make()", "make( 'x', number = [1, 2], )", " made ", "make(**{'name': 'x'})"],
)
def test_find_app_by_string_understands(app, expression):
    def make(name="x", number=(1, 2)):
        assert (name, list(number)) == ("x", [1, 2])
        return app

    assert find_app_by_string(module_with(made=app, make=make), expression) is app


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("made.name", "neither a name nor the call"),
        ("made(", "neither a name nor the call"),
        ("\0", "neither a name nor the call"),
        ("os.make()", "plain name"),
        ("make(other)", "literal values"),
        ("make(1)", "does not take these arguments"),
        ("make(**3)", "literal values"),
        ("missing", "has no 'missing'"),
        ("number", "not an application"),
    ],
)
def test_find_app_by_string_says_what_is_wrong(app, expression, complaint):
    module = module_with(made=app, make=lambda: app, number=3)
    with pytest.raises(NoAppException, match=complaint):
        find_app_by_string(module, expression)


def test_prepare_import_goes_up_to_the_outermost_package(project):
    folder = project()
    (folder / "outer" / "inner").mkdir(parents=True)
    for path in ("outer/__init__.py", "outer/inner/__init__.py", "outer/inner/module.py"):
        (folder / path).touch()
    assert prepare_import("outer/inner/module.py") == "outer.inner.module"
    assert prepare_import("outer/inner/__init__.py") == "outer.inner"
    assert prepare_import("outer.inner") == "outer.inner"
    assert sys.path[0] == str(folder)


def test_locate_app_tells_a_missing_module_from_a_broken_one(project):
    project(broken="import not_installed_anywhere")
    prepare_import("broken")
    with pytest.raises(NoAppException, match="not_installed_anywhere"):
        locate_app("broken", None, raise_if_not_found=False)
    with pytest.raises(NoAppException, match="no module 'absent'"):
        locate_app("absent", None)
    assert locate_app("absent", None, raise_if_not_found=False) is None


def test_other_errors_of_an_import_pass_untouched(project):
    project(broken="1 / 0")
    prepare_import("broken")
    with pytest.raises(ZeroDivisionError):
        locate_app("broken", None)


HELLO = """
    from asyncflask import Flask
    app = Flask(__name__)
    other = Flask("other")

    @app.get("/")
    async def index():
        return "hello"

    def create(name="made"):
        return Flask(name)
"""


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("hello", "hello"),
        ("hello.py", "hello"),
        ("hello:other", "other"),
        ("hello:create('x')", "x"),
        (None, "app"),
    ],
)
def test_script_info_loads_once(project, path, name):
    project(hello=HELLO, app=HELLO)
    info = ScriptInfo(app_import_path=path)
    app = info.load_app()
    assert app.name == name
    assert info.load_app() is app


def test_script_info_without_any_application(project):
    project()
    with pytest.raises(NoAppException, match="FLASK_APP"):
        ScriptInfo().load_app()


def test_script_info_awaits_an_async_factory(app):
    async def create_app():
        return app

    assert ScriptInfo(create_app=create_app).load_app() is app


@pytest.mark.parametrize("set_debug_flag", [True, False])
def test_script_info_sets_the_debug_flag(app, monkeypatch, set_debug_flag):
    monkeypatch.setenv("FLASK_DEBUG", "1")
    ScriptInfo(create_app=lambda: app, set_debug_flag=set_debug_flag).load_app()
    assert app.debug is set_debug_flag


# Commands


def invoke(app, runner, *args, **kwargs):
    group = FlaskGroup(create_app=lambda: app)
    return runner.invoke(group, args, standalone_mode=False, catch_exceptions=False, **kwargs)


def test_command_has_the_context(app, runner):
    @app.cli.command()
    def name():
        return current_app.name

    assert invoke(app, runner, "name").return_value == "shown"


def test_async_command_has_both_contexts_and_runs_elsewhere(app, runner):
    @app.cli.command()
    @click.argument("number", type=int)
    async def work(number):
        ctx = click.get_current_context()
        return current_app.name, number, ctx.info_name, threading.get_ident()

    name, number, command, thread = invoke(app, runner, "work", "3").return_value
    assert (name, number, command) == ("shown", 3, "work")
    assert thread != threading.get_ident()


def test_async_command_without_the_context(app, runner):
    @app.cli.command(with_appcontext=False)
    async def work():
        return "done"

    assert invoke(app, runner, "work").return_value == "done"


def test_async_callbacks_of_groups_and_parameters(app, runner):
    seen = []

    async def double(ctx, param, value):
        return value * 2

    @app.cli.group()
    async def area():
        seen.append(current_app.name)

    @area.command()
    @click.option("--number", type=int, callback=double)
    async def work(number):
        return number

    assert invoke(app, runner, "area", "work", "--number", "4").return_value == 8
    assert seen == ["shown"]


def test_plain_async_command_can_be_added(app, runner):
    @click.command()
    async def work():
        return "done"

    outer = click.Group("outer", commands=[work])
    app.cli.add_command(outer)
    assert invoke(app, runner, "outer", "work").return_value == "done"


def test_async_group_as_the_program(runner):
    seen = []

    @click.group(cls=AppGroup)
    async def program():
        seen.append("program")

    @program.command(with_appcontext=False)
    def work():
        return "done"

    result = runner.invoke(program, ["work"], standalone_mode=False)
    assert (result.return_value, seen) == ("done", ["program"])


def test_with_appcontext_takes_async_functions(app, runner):
    @click.command()
    @with_appcontext
    async def work():
        return current_app.name

    info = ScriptInfo(create_app=lambda: app)
    result = runner.invoke(work, obj=info, standalone_mode=False)
    assert result.return_value == "shown"


def test_error_of_an_async_command_is_its_own(app, runner):
    @app.cli.command()
    async def work():
        raise click.ClickException("not today")

    result = runner.invoke(FlaskGroup(create_app=lambda: app), ["work"])
    assert result.exit_code == 1
    assert "Error: not today" in result.output


def test_exit_of_an_async_command_tears_the_context_down(app, runner):
    torn_down = []

    @app.teardown_appcontext
    async def teardown(exc):
        torn_down.append(exc)

    @app.cli.command()
    async def work():
        click.get_current_context().exit(3)

    info = ScriptInfo(create_app=lambda: app)
    alone = with_appcontext(work.callback.__wrapped__)
    assert runner.invoke(click.command()(alone), obj=info).exit_code == 3
    assert len(torn_down) == 1

    torn_down.clear()
    assert runner.invoke(FlaskGroup(create_app=lambda: app), ["work"]).exit_code == 3
    assert len(torn_down) == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_leaving_an_async_command_does_not_stop_the_loop(app, runner, error):
    @app.cli.command()
    async def work():
        raise error

    @app.cli.command()
    async def again():
        return "still here"

    group = FlaskGroup(create_app=lambda: app)
    assert runner.invoke(group, ["work"]).exit_code == (3 if type(error) is SystemExit else 1)
    assert invoke(app, runner, "again").return_value == "still here"


def test_version(runner):
    output = runner.invoke(cli, ["--version"]).output
    assert f"Python {platform.python_version()}" in output
    assert "asyncflask" in output
    assert "Flask 3.1.3" in output


def test_help_goes_on_without_the_application(runner, project):
    project(app="1 / 0")
    result = runner.invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert "ZeroDivisionError" in result.stderr
    assert "routes" in result.stdout


def test_help_lists_commands_of_an_application_from_the_environment(runner, project):
    project(
        hello="""
        from asyncflask import Flask
        app = Flask(__name__)
        @app.cli.command()
        def of_the_app(): pass
        """
    )
    result = runner.invoke(cli, [], env={"FLASK_APP": "hello"})
    assert "of-the-app" in result.output


def test_debug_option_sets_the_environment_for_factories(runner, project):
    project(
        hello="""
        import os
        from asyncflask import Flask
        seen = os.environ.get("FLASK_DEBUG")
        app = Flask(__name__)
        @app.cli.command()
        def show(): print(seen, app.debug)
        """
    )
    result = runner.invoke(cli, ["--app", "hello", "--debug", "show"])
    assert result.output == "1 True\n"


# Commands of installed packages

PLUGIN = """
    import click
    import app
    @click.command()
    def command(): click.echo(f"plugin of {app.order}")
    app.order.append("plugin")
"""
APP = """
    from asyncflask import Flask
    order = ["app"]
    app = Flask(__name__)
"""


def install_entry_point(folder: Path, target: str, name: str = "extra"):
    info = folder / "extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[flask.commands]\n{name} = {target}\n")
    sys.path.insert(0, str(folder))


def test_command_of_a_package_comes_after_the_application(runner, project):
    install_entry_point(project(app=APP, plugin=PLUGIN), "plugin:command")
    result = runner.invoke(FlaskGroup(), ["extra"])
    assert result.output == "plugin of ['app', 'plugin']\n"


def test_command_of_a_package_is_listed(runner, project):
    install_entry_point(project(app=APP, plugin=PLUGIN), "plugin:command")
    assert "extra" in runner.invoke(FlaskGroup(), ["--help"]).output


def test_package_is_not_loaded_for_other_commands(runner, project):
    install_entry_point(project(app=APP, plugin=PLUGIN), "plugin:command")
    assert runner.invoke(FlaskGroup(), ["routes"]).exit_code == 0
    assert "plugin" not in sys.modules


def test_command_of_a_package_goes_before_ours(runner, project):
    install_entry_point(project(app=APP, plugin=PLUGIN), "plugin:command", "routes")
    assert "plugin of" in runner.invoke(FlaskGroup(), ["routes"]).output


def test_broken_package_costs_its_own_command_only(runner, project):
    install_entry_point(project(app=APP), "not_there:command")
    result = runner.invoke(FlaskGroup(), ["--help"])
    assert result.exit_code == 0
    assert "'extra' (not_there:command) is broken" in result.stderr
    assert "routes" in result.stdout


# Environment files


def test_env_file_goes_before_the_default_ones(project, monkeypatch):
    folder = project()
    (folder / ".flaskenv").write_text("A=flaskenv\nB=flaskenv\nC=flaskenv\nD=flaskenv\n")
    (folder / ".env").write_text("B=env\nC=env\nD=env\n")
    (folder / "own").write_text("C=own\nD=own\n")
    monkeypatch.setenv("D", "set")
    assert load_dotenv("own")
    assert [os.environ[name] for name in "ABCD"] == ["flaskenv", "env", "own", "set"]


def test_missing_env_file_is_passed_over(project):
    project()
    assert load_dotenv("missing") is False


def test_env_file_option_is_there_before_app(runner, project):
    folder = project(hello=HELLO)
    (folder / "own").write_text("FLASK_APP=hello:other\n")
    group = FlaskGroup()

    @group.command()
    def name():
        click.echo(current_app.name)

    assert runner.invoke(group, ["-e", "own", "name"]).output == "other\n"


def test_env_file_needs_dotenv(runner, project, monkeypatch):
    folder = project()
    (folder / "own").write_text("A=1\n")
    monkeypatch.setitem(sys.modules, "dotenv", None)
    result = runner.invoke(cli, ["-e", "own", "routes"])
    assert result.exit_code == 2
    assert "install python-dotenv" in result.stderr


def test_default_files_without_dotenv_give_a_tip(project, monkeypatch, capsys):
    (project() / ".env").write_text("A=1\n")
    monkeypatch.setitem(sys.modules, "dotenv", None)
    assert load_dotenv() is False
    assert "install python-dotenv" in capsys.readouterr().err


# routes


def test_routes_table(app, runner):
    app.add_url_rule("/b/<int:x>", endpoint="second", methods=["POST", "GET"])
    app.add_url_rule("/a", endpoint="third", methods=["DELETE"])
    app.add_url_rule("/c", endpoint="first")
    output = invoke(app, runner, "routes").output
    assert output.splitlines() == [
        "Endpoint  Methods    Rule      ",
        "--------  ---------  ----------",
        "first     GET        /c        ",
        "second    GET, POST  /b/<int:x>",
        "third     DELETE     /a        ",
    ]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("rule", ["third", "second", "first"]),
        ("methods", ["third", "first", "second"]),
        ("domain", ["second", "third", "first"]),
    ],
)
def test_routes_sorted(app, runner, sort, order):
    app.add_url_rule("/b", endpoint="second", methods=["POST", "GET"])
    app.add_url_rule("/a", endpoint="third", methods=["DELETE"])
    app.add_url_rule("/c", endpoint="first")
    lines = invoke(app, runner, "routes", "-s", sort).output.splitlines()[2:]
    assert [line.split()[0] for line in lines] == order


def test_routes_by_domain(runner):
    app = Flask("shown", static_folder=None, host_matching=True)
    app.add_url_rule("/", host="b.example", endpoint="one")
    app.add_url_rule("/", host="a.example", endpoint="two")
    lines = invoke(app, runner, "routes", "-s", "domain").output.splitlines()
    assert lines[0].split() == ["Endpoint", "Methods", "Host", "Rule"]
    assert lines[2].split() == ["two", "GET", "a.example", "/"]


def test_routes_without_any(app, runner):
    assert invoke(app, runner, "routes").output == "No routes were registered.\n"


# shell


def shell(app, runner, lines):
    return invoke(app, runner, "shell", input=lines).output


@pytest.fixture
def no_line_editing(monkeypatch):
    monkeypatch.delattr(sys, "__interactivehook__", raising=False)


def test_shell_has_the_context_and_the_names_of_the_application(app, runner, no_line_editing):
    app.shell_context_processor(lambda: {"answer": 41})
    output = shell(
        app, runner, "from asyncflask import current_app\nanswer + 1\ncurrent_app.name\n"
    )
    assert "App: shown" in output
    assert "42" in output
    assert "'shown'" in output


def test_shell_awaits(app, runner, no_line_editing):
    lines = "import asyncio\nx = await asyncio.sleep(0.01, 'slept')\nx.upper()\n"
    assert "'SLEPT'" in shell(app, runner, lines)


def test_shell_survives_errors_and_takes_blocks(app, runner, no_line_editing, capfd):
    output = shell(app, runner, "1 / 0\nfor n in range(2):\n    print('n', n)\n\n")
    assert "n 0" in output
    assert "n 1" in output


def test_shell_runs_the_startup_file(app, runner, no_line_editing, project):
    folder = project(startup="from_startup = 'yes indeed'")
    os.environ["PYTHONSTARTUP"] = str(folder / "startup.py")
    assert "'yes indeed'" in shell(app, runner, "from_startup\n")


# run


@pytest.fixture
def served(monkeypatch):
    """What was to be served, and how; nothing is."""
    import uvicorn

    calls = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: calls.append((app, options)))

    def supervise(target, exclude_patterns, **options):
        calls.append((target, {"exclude_patterns": exclude_patterns, **options}))

    monkeypatch.setattr("asyncflask.processes.supervise", supervise)
    # The usual port may be another program's, and [::1] need not exist.
    monkeypatch.setattr("asyncflask.devserver._check_port", lambda host, port: None)
    return calls


def test_run_serves_the_application(app, runner, served):
    result = runner.invoke(
        FlaskGroup(create_app=lambda: app), ["run", "--host", "::1", "-p", "5001"]
    )
    assert result.exit_code == 0, result.output
    [(target, options)] = served
    assert target is app
    assert (options["host"], options["port"]) == ("::1", 5001)
    assert "Debug mode: off" in result.output


def test_run_with_a_certificate(app, runner, served):
    args = ["run", "--cert", __file__, "--key", __file__]
    runner.invoke(FlaskGroup(create_app=lambda: app), args)
    assert served[0][1]["ssl_certfile"] == served[0][1]["ssl_keyfile"] == __file__


def test_run_with_a_certificate_made_on_the_spot(app, runner, served, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", types.ModuleType("cryptography"))
    made = []

    def make(base_path, host):
        made.append((os.path.dirname(base_path), host))
        return f"{base_path}.crt", f"{base_path}.key"

    monkeypatch.setattr("werkzeug.serving.make_ssl_devcert", make)
    result = runner.invoke(FlaskGroup(create_app=lambda: app), ["run", "--cert", "adhoc"])
    assert result.exit_code == 0, result.output
    [(folder, host)] = made
    assert served[0][1]["ssl_certfile"] == os.path.join(folder, "adhoc.crt")
    assert host == "127.0.0.1"
    assert not os.path.exists(folder)


def test_run_with_an_ssl_context(app, runner, monkeypatch):
    import uvicorn

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    monkeypatch.setitem(sys.modules, "our_ssl_context", context)
    served = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server: served.append(server.config))
    args = ["--debug", "run", "--cert", "our_ssl_context"]
    result = runner.invoke(FlaskGroup(create_app=lambda: app), args)
    assert result.exit_code == 0, result.output
    assert served[0].ssl is context


@pytest.mark.parametrize("error", [KeyboardInterrupt(), None])
def test_a_stopped_server_with_an_ssl_context_ends_well(app, runner, monkeypatch, error):
    import uvicorn

    def run(server):
        if error is not None:
            raise error

    monkeypatch.setitem(sys.modules, "our_ssl", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    monkeypatch.setattr(uvicorn.Server, "run", run)
    result = runner.invoke(FlaskGroup(create_app=lambda: app), ["run", "--cert", "our_ssl"])
    assert result.exit_code == 0


def test_run_on_a_unix_socket(app, runner, served):
    args = ["run", "--host", "unix:///tmp/our.sock"]
    result = runner.invoke(FlaskGroup(create_app=lambda: app), args)
    assert served[0][1]["uds"] == "/tmp/our.sock"
    assert "Development server on unix:///tmp/our.sock; in production: " in result.output


def test_run_without_threads(app, runner, served):
    runner.invoke(FlaskGroup(create_app=lambda: app), ["run", "--without-threads"])
    assert app.config["SYNC_THREADS"] == 1


def test_run_does_not_reload_what_a_callable_makes(app, runner, served):
    result = runner.invoke(FlaskGroup(create_app=lambda: app), ["run", "--debug"])
    assert result.exit_code == 0, result.output
    assert "Not reloading" in result.stderr
    assert served[0][0].app is app


def test_run_has_no_debugger_outside_of_debug_mode(app, runner, served):
    result = runner.invoke(FlaskGroup(create_app=lambda: app), ["run", "--debugger"])
    assert "No debugger: the application is not in debug mode" in result.stderr
    assert served[0][0] is app


def test_run_watches_packages_that_are_not_installed(runner, project, served, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "our_library"
    elsewhere.mkdir()
    (elsewhere / "__init__.py").touch()
    sys.path.append(str(elsewhere.parent))
    project(hello=f"import click, our_library\n{textwrap.dedent(HELLO)}")
    result = runner.invoke(cli, ["-A", "hello", "--debug", "run"])
    del sys.modules["our_library"]
    assert result.exit_code == 0, result.output
    watched = served[0][1]["reload_dirs"]
    assert str(elsewhere) in watched
    assert os.path.dirname(click.__file__) not in watched


def test_run_reloads_what_a_factory_of_a_module_makes(runner, project, served):
    folder = project(
        made="""
        from asyncflask import Flask
        async def create_app(): return Flask("from a factory", static_folder=None)
        """
    )
    sys.path.insert(0, str(folder))
    from made import create_app

    result = runner.invoke(FlaskGroup(create_app=create_app), ["run", "--debug"])
    assert result.exit_code == 0, result.output
    assert served[0][1]["reload"] is True

    from asyncflask.reloader import make_app

    assert make_app().app.name == "from a factory"


@pytest.mark.parametrize("arguments", [[], ["--debugger"], ["--no-debugger"]])
def test_run_puts_the_debugger_around_the_application_in_debug_mode(app, runner, served, arguments):
    arguments = ["run", "--debug", "--host", "one.example", *arguments]
    result = runner.invoke(FlaskGroup(create_app=lambda: app), arguments)
    assert result.exit_code == 0, result.output
    served_app = served[0][0]
    assert isinstance(served_app, Debugger) is ("--no-debugger" not in arguments)
    assert ("Debugger PIN" in result.stderr) is ("--no-debugger" not in arguments)
    if served_app is not app:
        assert served_app.app is app
        assert "one.example" in served_app.consoles.trusted_hosts


@pytest.mark.parametrize("arguments", [[], ["--debugger"], ["--no-debugger"]])
def test_the_reloaded_process_has_the_debugger(runner, project, served, arguments):
    project(hello=HELLO)
    arguments = ["-A", "hello", "--debug", "run", "--host", "localhost.", *arguments]
    assert runner.invoke(cli, arguments).exit_code == 0

    from asyncflask.reloader import make_app

    made = make_app()
    assert isinstance(made, Debugger) is ("--no-debugger" not in arguments)
    if isinstance(made, Debugger):
        assert "localhost." in made.consoles.trusted_hosts


def test_there_is_no_debugger_with_several_workers(runner, project, served):
    project(hello=HELLO)
    result = runner.invoke(cli, ["-A", "hello", "--debug", "run", "--workers", "2"])
    assert (served[0][1]["workers"], result.exit_code) == (2, 0)
    assert "reload" not in served[0][1]
    assert "there must be one" in result.stderr

    from asyncflask.reloader import make_app

    assert make_app().name == "hello"


@pytest.mark.parametrize("workers", [2, None])
def test_there_is_a_debugger_where_one_process_is_left(app, served, capsys, workers):
    app.run(debug=True, use_reloader=False, workers=workers)
    assert served[0][0].app is app
    assert served[0][1]["workers"] == 1
    assert "No debugger" not in capsys.readouterr().err


def test_run_reloading(runner, project, served):
    folder = project(hello=HELLO)
    (folder / "config").mkdir()
    (folder / "config" / "settings.toml").touch()
    files = os.pathsep.join(["config/settings.toml", "config"])
    args = ["-A", "hello", "--debug", "run", "--extra-files", files]
    args += ["--exclude-patterns", os.pathsep.join(["/abs/*.py", "*/tests/*"]), "--without-threads"]
    result = runner.invoke(cli, args)
    assert result.exit_code == 0, result.output
    [(target, options)] = served
    assert target == "asyncflask.reloader:make_app"
    assert options["reload"] is True
    assert options["exclude_patterns"] == ["/abs/*.py", "*/tests/*"]
    assert {str(folder), str(folder / "config")} <= set(options["reload_dirs"])
    assert "settings.toml" in options["reload_includes"]
    assert options["reload_excludes"] == ["abs/*.py", "*/tests/*"]

    from asyncflask.reloader import make_app

    app = make_app().app
    assert (app.name, app.config["SYNC_THREADS"]) == ("hello", 1)


def test_run_fails_with_the_application(runner, project, served):
    project(hello="1 / 0")
    result = runner.invoke(cli, ["-A", "hello", "run"])
    assert isinstance(result.exception, ZeroDivisionError)
    assert served == []


def test_separated_paths():
    context = run_command.make_context("run", ["--extra-files", f"{__file__}{os.pathsep}."])
    assert context.params["extra_files"] == [__file__, "."]
    with pytest.raises(click.BadParameter):
        SeparatedPathType(exists=True).convert("/not/there", None, None)


@pytest.mark.parametrize("option", [["--cert", __file__], ["--key", __file__]])
def test_certificate_and_key_go_together(option):
    with pytest.raises(click.BadParameter):
        run_command.make_context("run", option)


def test_name_of_an_ssl_context_keeps_its_case(monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    monkeypatch.setitem(sys.modules, "Mixed_Case", context)
    made = run_command.make_context("run", ["--cert", "Mixed_Case"])
    assert made.params["cert"] is context


def test_banner_is_shown_once(monkeypatch, capsys):
    show_server_banner(True, "hello.py")
    assert "'hello.py'\n * Debug mode: on" in capsys.readouterr().out
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    show_server_banner(True, "hello.py")
    assert capsys.readouterr().out == ""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def fetch(url, expected, again=None, timeout=30.0):
    """Fetch until the answer is the expected one; *again* is called after each other answer."""
    deadline = time.monotonic() + timeout
    answer = None
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                answer = response.read().decode()
        except OSError as error:
            answer = error
        if answer == expected:
            return
        time.sleep(0.1)
        if again is not None:
            again()
    raise AssertionError(f"{url} answers {answer!r}, not {expected!r}")


@pytest.mark.parametrize(
    "options", [[], pytest.param(["--debug"], marks=pytest.mark.slow)], ids=["plain", "reloading"]
)
def test_program_serves_until_it_is_stopped(project, options):
    folder = project(hello=HELLO)
    port = free_port()
    root = str(Path(sys.modules["asyncflask"].__path__[0]).parent)
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
    }
    program = [sys.executable, "-m", "asyncflask", "--app", "hello", "run", "-p", str(port)]
    with open(folder / "output", "w") as output:
        process = subprocess.Popen(
            program + options, env=environ, cwd=folder, stdout=output, stderr=output
        )
    try:
        fetch(f"http://127.0.0.1:{port}/", "hello")
        if options:

            def change():
                # More than once: the first time may come before the reloader watches.
                (folder / "hello.py").write_text(text.replace('"hello"', '"changed"'))
                time.sleep(1)

            text = (folder / "hello.py").read_text()
            fetch(f"http://127.0.0.1:{port}/", "changed", change)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    finally:
        process.kill()
        process.wait(20)
    assert "Serving asyncflask app 'hello'" in (folder / "output").read_text()


# app.run()


def test_app_run_serves(app, served, capsys):
    app.run("::1", 5002, threaded=False, log_level="error")
    [(target, options)] = served
    assert target is app
    assert (options["host"], options["port"], options["log_level"]) == ("::1", 5002, "error")
    assert app.config["SYNC_THREADS"] == 1
    assert "Serving asyncflask app 'shown'" in capsys.readouterr().out


def test_app_run_takes_what_werkzeugs_server_takes(app, served, capsys):
    app.run(reloader_interval=2, reloader_type="auto", static_files=None, processes=1)
    assert served[0][1]["reload_delay"] == 2
    assert "Ignoring" not in capsys.readouterr().err
    app.run(debug=True, use_reloader=False, use_debugger=False, passthrough_errors=True)
    assert served[1][0] is app
    assert "only Werkzeug's server knows: 'passthrough_errors'" in capsys.readouterr().err


def test_app_run_without_consoles_has_no_debugger(app, served):
    app.run(debug=True, use_reloader=False, use_evalex=False)
    assert served[0][0] is app


def test_app_run_does_nothing_under_a_command(app, served, monkeypatch, capsys):
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")
    app.run()
    assert served == []
    assert "Ignoring app.run()" in capsys.readouterr().err


@pytest.fixture
def main_script(monkeypatch, project):
    """The file of the script that runs, as far as anyone can see."""
    path = project(script="") / "script.py"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(path), raising=False)
    return path


def test_app_run_has_its_script_reloaded(app, served, monkeypatch, main_script):
    for name in ("FLASK_RUN_FROM_CLI", "FLASK_DEBUG", "ASYNCFLASK_PROCESS"):
        # To be taken back, though it is run() that sets it.
        monkeypatch.setenv(name, "")
    app.run(debug=True)
    [(target, options)] = served
    assert target == "asyncflask.reloader:make_app"
    assert options["reload"] is True
    settings = json.loads(os.environ["ASYNCFLASK_PROCESS"])
    assert settings["script"]["path"] == str(main_script)
    assert settings["debugged_at"] == "127.0.0.1"
    assert os.environ["FLASK_DEBUG"] == "1"


def test_app_run_has_workers_import_a_global_of_the_script(app, served, monkeypatch, main_script):
    monkeypatch.setattr(sys.modules["__main__"], "shown_app", app, raising=False)
    for name in ("FLASK_RUN_FROM_CLI", "FLASK_DEBUG", "ASYNCFLASK_PROCESS"):
        monkeypatch.setenv(name, "")
    app.run(workers=2)
    assert served[0][1]["workers"] == 2
    settings = json.loads(os.environ["ASYNCFLASK_PROCESS"])
    assert (settings["app"], settings["script"]) == (f"{main_script}:shown_app", None)


def test_app_run_does_not_reload_without_a_script(app, served, capsys, monkeypatch):
    # As in an interactive session.
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    app.run(use_reloader=True, use_debugger=True)
    assert served[0][0] is app
    error = capsys.readouterr().err
    assert "Not reloading" in error
    assert "No debugger" in error
