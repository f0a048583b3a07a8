// What Grafana's own library shows of panels, without its pages: a JSON list of {panel, frames} on stdin, each frame
// {name, value}, where null is NaN; on stdout, for each, the list of {text, color} of its figures.
globalThis.navigator = { language: "en-US", languages: ["en-US"] };
const part = (path) => require(`${process.cwd()}/node_modules/@grafana/data/dist/cjs/${path}.cjs`);
const { getFieldDisplayValues } = part("field/fieldDisplay");
const { getDisplayProcessor } = part("field/displayProcessor");
const { createTheme } = part("themes/createTheme");
const { toDataFrame } = part("dataframe/processDataFrame");

const theme = createTheme();
const replaceVariables = (text) => text;

function frame({ name, value }, { defaults, overrides }) {
  const made = toDataFrame({ fields: [{ name: "Time", type: "time", values: [1] }, { name, type: "number", values: [value === null ? NaN : value] }] });
  const own = overrides.filter((one) => one.matcher.options === name).flatMap((one) => one.properties);
  const field = made.fields[1];
  field.config = { ...defaults, ...Object.fromEntries(own.map((one) => [one.id, one.value])) };
  field.display = getDisplayProcessor({ field, theme });
  return made;
}

function figures({ panel, frames }) {
  const data = frames.map((one) => frame(one, panel.fieldConfig));
  const { reduceOptions } = panel.options;
  return getFieldDisplayValues({ fieldConfig: panel.fieldConfig, reduceOptions, replaceVariables, theme, data }).map(
    ({ display }) => ({ text: `${display.prefix ?? ""}${display.text}${display.suffix ?? ""}`, color: display.color }),
  );
}

const color = (name) => theme.visualization.getColorByName(name);
const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
const colors = Object.fromEntries(["green", "orange", "red", "text"].map((name) => [color(name), name]));
console.log(JSON.stringify(asked.map((one) => figures(one).map(({ text, color }) => ({ text, color: colors[color] ?? color })))));
