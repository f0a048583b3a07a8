"""How values look: units, thresholds, colours, text where there is nothing."""

from dataclasses import dataclass

from grafana_foundation_sdk.models import dashboard, units

NO_TRAFFIC = "No traffic"
"""What NaN means: a sidecar tells of no calls."""
NO_COST = "No cost"
NO_TOKENS = "No tokens"
"""The same, of what only some models have: a price, or tokens."""
NOT_REPORTED = "Not reported"
"""What no value at all means: whoever would tell is away, or never told."""
NONE_SEEN = "No traffic reported"
"""Of a course, which can't tell the two apart."""

GREEN, ORANGE, RED, PLAIN = "green", "orange", "red", "text"
"""As it should be; worth a look today; worth one now; neither good nor bad. The same on each screen."""


@dataclass(frozen=True)
class Limits:
    """Colours by value: `base` below the first step, then each step's from its value on."""

    base: str
    steps: tuple[tuple[float, str], ...] = ()

    def thresholds(self) -> dashboard.ThresholdsConfig:
        steps = [dashboard.Threshold(value=value, color=color) for value, color in ((None, self.base), *self.steps)]
        return dashboard.ThresholdsConfig(mode=dashboard.ThresholdsMode.ABSOLUTE, steps=steps)


NEUTRAL = Limits(PLAIN)
NONE_IS_GOOD = Limits(GREEN, ((1, RED),))
"""Of what should never be: one is a page."""


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
    no_value: str = NOT_REPORTED
    idle: str = NO_TRAFFIC

    def of_figures(self, links: list[dashboard.DashboardLink], custom: object = None) -> dashboard.FieldConfigSource:
        """Coloured by the limits, and not at all where there is no figure."""
        made = self.of_series(links, custom)
        made.defaults.color = dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS)
        made.defaults.mappings = [
            _without_color(dashboard.SpecialValueMatch.NA_N, self.idle),
            _without_color(dashboard.SpecialValueMatch.NULL, self.no_value),
        ]
        return made

    def of_series(self, links: list[dashboard.DashboardLink], custom: object = None) -> dashboard.FieldConfigSource:
        """Each series has a colour of its own."""
        defaults = dashboard.FieldConfig(
            unit=self.unit,
            decimals=self.decimals,
            min_val=self.min,
            max_val=self.max,
            thresholds=self.limits.thresholds(),
            color=dashboard.FieldColor(mode=dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME),
            links=links,
            no_value=self.no_value,
            custom=custom,
        )
        return dashboard.FieldConfigSource(defaults=defaults, overrides=[])


COUNT = Field(units.LocaleFormat, decimals=0)
"""To the last one: `short` would make 48 K of 47,590."""


DOLLARS = "prefix:$"
"""To the cent: Grafana's own unit would make $47.59K of $47,590.12."""


def _without_color(match: dashboard.SpecialValueMatch, text: str) -> dashboard.SpecialValueMap:
    """Grafana gives what is no number the colour of the lowest limit, which is green here and red there."""
    result = dashboard.ValueMappingResult(text=text, color=PLAIN)
    return dashboard.SpecialValueMap(dashboard.DashboardSpecialValueMapOptions(match, result))


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
