// Looker's published grammars: `node filter_grammar.cjs FOLDER < {"date": [...], "number": [...], "string": [...]}` prints, for each kind, the published
// test expressions and for each text of the input the root of its parse, or null when the grammar refuses it.
const home = process.argv[2] + '/node_modules/';
const peg = require(home + 'pegjs');
const grammars = home + '@looker/filter-expressions/dist/cjs/grammars/';
const items = { date: 'dateExpressionTestItems', number: 'numberExpressionTestItems', string: 'stringGrammarTestItems' };
const asked = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const options = { Object, getNumberFromString: require(home + '@looker/filter-expressions/dist/cjs/utils/number/get_number_from_string.js').getNumberFromString };
const found = {};
for (const kind of Object.keys(items)) {
  const published = require(`${grammars}${kind}_grammar_test_expressions.js`)[items[kind]].map(i => i.expression);
  const parser = peg.generate(require(`${grammars}${kind}_grammar.js`)[`${kind}Grammar`]);
  const parsed = (asked[kind] || []).map(text => { try { return parser.parse(text, options); } catch (e) { return null; } });
  found[kind] = { published, parsed };
}
console.log(JSON.stringify(found));
