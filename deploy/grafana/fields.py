"""How values look: units, thresholds, colours, text where there is nothing."""

from dataclasses import dataclass

from grafana_foundation_sdk.models import dashboard

NO_TRAFFIC = "No traffic"
NOT_REPORTED = "Not reported"

GREEN, ORANGE, RED = "green", "orange", "red"


@dataclass(frozen=True)
class Limits:
    """Colours by value: `base` below the first step, then each step's from its value on."""

    base: str
    steps: tuple[tuple[float, str], ...] = ()

    def thresholds(self) -> dashboard.ThresholdsConfig:
        steps = [dashboard.Threshold(value=value, color=color) for value, color in ((None, self.base), *self.steps)]
        return dashboard.ThresholdsConfig(mode=dashboard.ThresholdsMode.ABSOLUTE, steps=steps)


NEUTRAL = Limits("text")


def red_from(value: float) -> Limits:
    """The alert fires above the value."""
    return Limits(GREEN, ((value, RED),))


def red_below(value: float) -> Limits:
    """The alert fires below the value."""
    return Limits(RED, ((value, GREEN),))


@dataclass(frozen=True)
class Field:
    """What all values of a panel have in common."""

    unit: str
    limits: Limits = NEUTRAL
    decimals: float | None = None
    min: float | None = 0
    max: float | None = None
    no_value: str = NO_TRAFFIC
    by_limits: bool = False
    """Coloured by the limits; otherwise each series has a colour of its own."""

    def config(self, links: list[dashboard.DashboardLink], custom: object = None) -> dashboard.FieldConfigSource:
        mode = dashboard.FieldColorModeId
        color = mode.THRESHOLDS if self.by_limits else mode.PALETTE_CLASSIC_BY_NAME
        defaults = dashboard.FieldConfig(
            unit=self.unit,
            decimals=self.decimals,
            min_val=self.min,
            max_val=self.max,
            thresholds=self.limits.thresholds(),
            color=dashboard.FieldColor(mode=color),
            links=links,
            no_value=self.no_value,
            custom=custom,
        )
        return dashboard.FieldConfigSource(defaults=defaults, overrides=[])


def override(name: str, **properties: object) -> dashboard.DashboardFieldConfigSourceOverrides:
    """Of the field with this name. A property's `__` is a dot: `custom__cellOptions`."""
    return dashboard.DashboardFieldConfigSourceOverrides(
        matcher=dashboard.MatcherConfig(id_val="byName", options=name),
        properties=[
            dashboard.DynamicConfigValue(id_val=key.replace("__", "."), value=value)
            for key, value in properties.items()
        ],
    )


def fixed_color(name: str, color: str) -> dashboard.DashboardFieldConfigSourceOverrides:
    """The same colour on every screen for a series that means something."""
    return override(name, color=dashboard.FieldColor(mode=dashboard.FieldColorModeId.FIXED, fixed_color=color))
