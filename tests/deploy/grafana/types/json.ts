// A dashboard's JSON in the words of Grafana's own types. A test writes `check.ts` beside this file and compiles it.
import type { AnnotationQuery, Dashboard, GraphFieldConfig, Panel, RowPanel, TableFieldOptions } from "@grafana/schema";
import type { Options as BarGaugeOptions } from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type {
  FieldConfig as HeatmapField,
  Options as HeatmapOptions,
} from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type {
  FieldConfig as PieChartField,
  Options as PieChartOptions,
} from "@grafana/schema/dist/esm/raw/composable/piechart/panelcfg/x/PieChartPanelCfg_types.gen";
import type { Options as StatOptions } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as TableOptions } from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type { Options as TimeSeriesOptions } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** What is written in JSON for a type: an enum as one of its values. */
type Json<T> = unknown extends T
  ? T
  : T extends string
    ? `${T}`
    : T extends number | boolean | null | undefined
      ? T
      : T extends Array<infer Item>
        ? Array<Json<Item>>
        : { [Key in keyof T]: Json<T[Key]> };

/** The Prometheus data source reads these of an annotation; they are in none of the published types. */
interface PrometheusAnnotation {
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
  useValueForTime?: boolean;
}

export type DashboardJson = Json<Omit<Dashboard, "panels" | "annotations">>;
export type AnnotationJson = Json<Omit<AnnotationQuery, "target"> & PrometheusAnnotation>;
export type PanelJson = Json<Panel>;
export type RowJson = Json<RowPanel>;

export interface OptionsJson {
  bargauge: Json<BarGaugeOptions>;
  heatmap: Json<HeatmapOptions>;
  // The SDK doesn't know `sort` yet; Grafana has a default for it.
  piechart: Json<Omit<PieChartOptions, "sort">>;
  stat: Json<StatOptions>;
  table: Json<TableOptions>;
  timeseries: Json<TimeSeriesOptions>;
}

export interface CustomJson {
  heatmap: Json<HeatmapField>;
  piechart: Json<PieChartField>;
  table: Json<TableFieldOptions>;
  timeseries: Json<GraphFieldConfig>;
}
