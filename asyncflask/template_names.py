"""``TemplateNames``: what an application adds to the names that its templates know."""

from __future__ import annotations

import typing as t

from . import typing as ft
from .scaffold import registering
from .scaffold import Scaffold
from .scaffold import setupmethod
from .scaffold import T_template_filter
from .scaffold import T_template_global
from .scaffold import T_template_test

if t.TYPE_CHECKING:
    from .templating import Environment


class TemplateNames(Scaffold):
    """Registers filters, tests and globals in an environment."""

    jinja_env: Environment

    @setupmethod
    def template_filter(
        self, name: str | None = None
    ) -> t.Callable[[T_template_filter], T_template_filter]:
        """Add the decorated function to the filters of templates.

        :param name: name of the filter, by default the function's.
        """
        return registering(lambda f: self.add_template_filter(f, name=name))

    @setupmethod
    def add_template_filter(self, f: ft.TemplateFilterCallable, name: str | None = None) -> None:
        """Add a function to the filters of templates.

        :param f: the filter.
        :param name: name of the filter, by default the function's.
        """
        from .templating import as_filter

        self.jinja_env.filters[name or f.__name__] = as_filter(f)

    @setupmethod
    def template_test(
        self, name: str | None = None
    ) -> t.Callable[[T_template_test], T_template_test]:
        """Add the decorated function to the tests of templates.

        :param name: name of the test, by default the function's.
        """
        return registering(lambda f: self.add_template_test(f, name=name))

    @setupmethod
    def add_template_test(self, f: ft.TemplateTestCallable, name: str | None = None) -> None:
        """Add a function to the tests of templates.

        :param f: the test.
        :param name: name of the test, by default the function's.
        """
        from .templating import as_filter

        self.jinja_env.tests[name or f.__name__] = as_filter(f)

    @setupmethod
    def template_global(
        self, name: str | None = None
    ) -> t.Callable[[T_template_global], T_template_global]:
        """Add the decorated function to the global names of templates.

        :param name: name in the templates, by default the function's.
        """
        return registering(lambda f: self.add_template_global(f, name=name))

    @setupmethod
    def add_template_global(self, f: ft.TemplateGlobalCallable, name: str | None = None) -> None:
        """Add a function to the global names of templates.

        :param f: the function.
        :param name: name in the templates, by default the function's.
        """
        self.jinja_env.globals[name or f.__name__] = f
