// What Grafana's own library calls a panel's time range, and whether it is one.
globalThis.navigator = { language: "en-US", languages: ["en-US"] };
const { describeTextRange } = require(`${process.cwd()}/node_modules/@grafana/data/dist/cjs/datetime/rangeutil.cjs`);
const { display, invalid } = describeTextRange(process.argv[2]);
if (invalid) throw new Error(display);
console.log(display);
