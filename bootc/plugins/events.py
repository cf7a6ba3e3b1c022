"""The event hooks, typed: every plugin is asked in order of names, and answers are checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen

from bootc.deployment import Deployment, KernelArguments
from bootc.errors import PluginError
from bootc.events import Notice, Report
from bootc.hookspec import ImageView
from bootc.plugins.loading import Registered, broken_as_error
from bootc.storage import Finding


@frozen(eq=False)
class EventHooks:
    """What a transaction tells plugins. The first three raise PluginError, which stops an update; notices only warn."""

    plugins: Sequence[Registered]
    report: Report

    def check_image(self, view: ImageView) -> list[Finding]:
        """What plugins have to say about an imported image."""
        return [finding for _, finding in self._answers("bootc_check_image", Finding, view)]

    def kernel_arguments(self, view: ImageView) -> tuple[str, ...]:
        """What plugins add to the kernel command line of a new deployment."""
        arguments = []
        for plugin, argument in self._answers("bootc_kernel_arguments", str, view):
            is_one = KernelArguments.parse(argument).items == (argument,) and argument.count('"') % 2 == 0
            if not is_one or not argument.isprintable():
                raise PluginError(plugin.name, f"bootc_kernel_arguments: {argument[:80]!r} is not one kernel argument")
            arguments.append(argument)
        return tuple(arguments)

    def prepare(self, view: ImageView) -> None:
        """Let plugins make ready what the new deployment needs."""
        for plugin in self._having("bootc_prepare"):
            with broken_as_error(plugin.name, "bootc_prepare"):
                plugin.call("bootc_prepare", image=view)

    def staged(self, deployment: Deployment) -> None:
        """Tell plugins of a new staged deployment."""
        self._tell("bootc_deployment_staged", deployment)

    def boot_completed(self, deployment: Deployment) -> None:
        """Tell plugins that a deployment booted well."""
        self._tell("bootc_boot_completed", deployment)

    def _having(self, hook: str) -> Iterator[Registered]:
        return (plugin for plugin in self.plugins if plugin.offers(hook))

    def _answers(self, hook: str, expected: type, view: ImageView) -> Iterator[tuple[Registered, Any]]:
        for plugin in self._having(hook):
            with broken_as_error(plugin.name, hook):
                answer = plugin.call(hook, image=view)
                items = list(answer) if answer is not None and not isinstance(answer, str) else [answer]
            for item in items:
                if not isinstance(item, expected):
                    raise PluginError(plugin.name, f"{hook}: answered {item!r:.80}, not {expected.__name__} records")
                yield plugin, item

    def _tell(self, hook: str, deployment: Deployment) -> None:
        for plugin in self._having(hook):
            try:
                with broken_as_error(plugin.name, hook):
                    plugin.call(hook, deployment=deployment)
            except PluginError as error:
                self.report(Notice(error.message, is_warning=True))
