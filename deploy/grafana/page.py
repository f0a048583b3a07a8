"""A dashboard: rows of panels laid out on Grafana's grid of 24 columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.models import dashboard

WIDTH = 24
REFRESH = "30s"


@dataclass(frozen=True)
class Line:
    """Panels side by side, of one height, as wide as each other."""

    height: int
    panels: Sequence[dashboard.Panel]


@dataclass(frozen=True)
class Row:
    """A title that folds the lines below it."""

    title: str
    lines: Sequence[Line]


def make_dashboard(
    *,
    uid: str,
    title: str,
    description: str,
    variables: list[dashboard.VariableModel],
    annotations: list[dashboard.AnnotationQuery],
    links: list[dashboard.DashboardLink],
    rows: Sequence[Row],
) -> dashboard.Dashboard:
    """Not editable: what provisioning wrote can't be saved, so a change is made in the generator."""
    return dashboard.Dashboard(
        uid=uid,
        title=title,
        description=description,
        tags=["invocation-gateway"],
        editable=False,
        graph_tooltip=dashboard.DashboardCursorSync.CROSSHAIR,
        time=dashboard.DashboardDashboardTime(from_val="now-1h", to="now"),
        timepicker=dashboard.TimePickerConfig(refresh_intervals=["5s", "10s", REFRESH, "1m", "5m", "15m"]),
        refresh=REFRESH,
        templating=dashboard.DashboardDashboardTemplating(list_val=variables),
        annotations=dashboard.AnnotationContainer(list_val=annotations),
        links=links,
        panels=list(_place(rows)),
    )


def _place(rows: Sequence[Row]) -> Iterator[dashboard.Panel | dashboard.RowPanel]:
    """Each with its place and an id."""
    y, panel_id = 0, 0
    for row in rows:
        panel_id += 1
        yield dashboard.RowPanel(title=row.title, id_val=panel_id, grid_pos=dashboard.GridPos(h=1, w=WIDTH, x=0, y=y))
        y += 1
        for line in row.lines:
            width, rest = divmod(WIDTH, len(line.panels))
            if rest:
                raise ValueError(f"{len(line.panels)} panels in a line of {row.title}: {WIDTH} columns aren't filled")
            for place, panel in enumerate(line.panels):
                panel_id += 1
                panel.id_val = panel_id
                panel.grid_pos = dashboard.GridPos(h=line.height, w=width, x=place * width, y=y)
                yield panel
            y += line.height
