// Drives a live server with the unmodified @gitbeaker/rest. usage: node gitbeaker.mjs MODULE URL TOKEN PROJECT; prints one JSON line.
import { pathToFileURL } from 'node:url';
const [module, host, token, path] = process.argv.slice(2);
const { Gitlab } = await import(pathToFileURL(module));
const api = new Gitlab({ host, token });
const until = async (look, ...words) => {
  for (let n = 0; n < 600; n++) {
    const found = await look();
    if (words.includes(found.status)) return found;
    await new Promise((go) => setTimeout(go, 50));
  }
  throw new Error('it never became ' + words);
};
const project = await api.Projects.show(path);
const first = (await api.Pipelines.all(project.id, { perPage: 1, maxPages: 1 }))[0];
await until(() => api.Pipelines.show(project.id, first.id), 'success');
const jobs = await api.Jobs.all(project.id, { pipelineId: first.id });
const build = jobs.find((job) => job.name === 'build');
const hand = jobs.find((job) => job.name === 'hand');
const log = await api.Jobs.showLog(project.id, build.id);
const file = await api.JobArtifacts.downloadArchive(project.id, { jobId: build.id, artifactPath: 'a.txt' });
await api.Jobs.play(project.id, hand.id, { jobVariablesAttributes: [{ key: 'WORD', value: 'hi' }] });
await until(() => api.Jobs.show(project.id, hand.id), 'success');
const said = await api.Jobs.showLog(project.id, hand.id);
const trigger = await api.PipelineTriggerTokens.create(project.id, 'hook');
const fired = await api.PipelineTriggerTokens.trigger(project.id, 'main', trigger.token, { variables: { A: '1' } });
const ended = await until(() => api.Pipelines.show(project.id, fired.id), 'success');
const retried = await api.Jobs.retry(project.id, build.id);
let missing;
try { await api.Jobs.show(project.id, 999999); } catch (error) { missing = error.cause?.description ?? String(error); }
const text = typeof file === 'string' ? file : await file.text();
console.log(JSON.stringify({
  names: jobs.map((job) => job.name).sort(), log: log.includes('hello gitbeaker'), text, played: said.includes('hand says hi'),
  source: ended.source, retried: retried.id > build.id, missing,
}));
