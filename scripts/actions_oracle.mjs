// Asks GitHub's own npm packages, offline: JSON cases on stdin, a JSON answer for each on stdout. Bundled by scripts/oracle.sh (Node 20 cannot import
// their JSON schema as it stands). With --time it reads a folder of workflows and prints how many seconds parsing and converting them took.
import {readFileSync, readdirSync} from "node:fs";
import {Lexer, Parser, Evaluator, data, wellKnownFunctions} from "@actions/expressions";
import {parseWorkflow, convertWorkflowTemplate, NoOperationTraceWriter} from "@actions/workflow-parser";

const kinds = ["string", "array", "object", "boolean", "number", "object", "null"];

function plain(value) {
  const kind = kinds[value.kind];
  if (kind === "array") return {array: value.values().map(plain)};
  if (kind === "object") return {object: value.pairs().map(p => [p.key, plain(p.value)])};
  if (kind === "number") return {number: String(value.value)};
  if (kind === "null") return null;
  return value.value;
}

function evaluate({text, context}) {
  try {
    const known = JSON.parse(JSON.stringify(context), data.reviver);
    const names = Object.keys(context);
    const functions = Object.values(wellKnownFunctions);
    const tree = new Parser(new Lexer(text).lex().tokens, names, functions).parse();
    return {value: plain(new Evaluator(tree, known).evaluate())};
  } catch (error) {
    return {error: String(error.message)};
  }
}

async function workflow({name, content}) {
  const found = parseWorkflow({name, content}, new NoOperationTraceWriter());
  const answer = {jobs: []};
  if (found.value) {
    const made = await convertWorkflowTemplate(found.context, found.value);
    for (const job of made.jobs ?? []) {
      answer.jobs.push({
        id: job.id.value,
        type: job.type,
        needs: (job.needs ?? []).map(n => n.value),
        condition: job.if?.expression ?? null,
        steps: (job.steps ?? []).map(s => ({id: s.id, condition: s.if?.expression ?? null, kind: "run" in s ? "run" : "uses" in s ? "uses" : "other"}))
      });
    }
    answer.events = Object.keys(made.events ?? {}).sort();
  }
  answer.errors = found.context.errors.getErrors().map(e => ({
    message: e.rawMessage ?? e.message,
    line: e.range?.start.line ?? 0,
    column: e.range?.start.column ?? 0
  }));
  return answer;
}

if (process.argv[2] === "--time") {
  const files = readdirSync(process.argv[3]).sort().map(n => [n, readFileSync(`${process.argv[3]}/${n}`, "utf8")]);
  const start = performance.now();
  let errors = 0;
  for (const [name, content] of files) errors += (await workflow({name, content})).errors.length;
  console.log(JSON.stringify({seconds: (performance.now() - start) / 1000, files: files.length, errors}));
} else {
  const answers = [];
  for (const one of JSON.parse(readFileSync(0, "utf8"))) {
    answers.push(one.content === undefined ? evaluate(one) : await workflow(one));
  }
  process.stdout.write(JSON.stringify(answers));
}
