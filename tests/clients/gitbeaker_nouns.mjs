// Drives the nouns beside pipelines with the unmodified @gitbeaker/rest. usage: node gitbeaker_nouns.mjs MODULE URL TOKEN PROJECT; prints one JSON line.
import { pathToFileURL } from 'node:url';
const [module, host, token, path] = process.argv.slice(2);
const { Gitlab } = await import(pathToFileURL(module));
const api = new Gitlab({ host, token });
const until = async (look, wanted) => {
  for (let n = 0; n < 600; n++) {
    const found = await look();
    if (wanted(found)) return found;
    await new Promise((go) => setTimeout(go, 50));
  }
  throw new Error('it never came');
};
const said = {};
const project = await api.Projects.show(path);
await until(() => api.Pipelines.all(project.id), (all) => all.length && all[0].status === 'success');
await api.ProjectVariables.create(project.id, 'K', 'v', { environmentScope: 'prod' });
said.variable = (await api.ProjectVariables.show(project.id, 'K', { filter: { environment_scope: 'prod' } })).environment_scope;
await api.ProjectVariables.edit(project.id, 'K', 'w', { filter: { environment_scope: 'prod' } });
said.variables = (await api.ProjectVariables.all(project.id)).map((v) => v.value);
const schedule = await api.PipelineSchedules.create(project.id, 'nightly', 'main', '0 4 * * *', { cronTimezone: 'Europe/Berlin' });
await api.PipelineScheduleVariables.create(project.id, schedule.id, 'A', '1');
await api.PipelineSchedules.run(project.id, schedule.id);
said.schedule = (await until(() => api.PipelineSchedules.allTriggeredPipelines(project.id, schedule.id), (all) => all.length))[0].source;
const environment = await api.Environments.create(project.id, 'staging', { externalUrl: 'https://x.test' });
said.stopped = (await api.Environments.stop(project.id, environment.id)).state;
await api.Environments.remove(project.id, environment.id);
const head = await api.Branches.show(project.id, 'main');
const deployment = await api.Deployments.create(project.id, 'prod', head.commit.id, 'main', false, { status: 'success' });
said.deployments = (await api.Deployments.all(project.id)).map((d) => [d.status, d.environment.name]);
await api.Commits.editStatus(project.id, head.commit.id, 'success', { name: 'outside' });
said.statuses = (await api.Commits.allStatuses(project.id, head.commit.id)).map((s) => s.name).sort();
await api.Branches.create(project.id, 'f/x', 'main');
await api.RepositoryFiles.create(project.id, 'a.txt', 'f/x', 'A', 'add a');
await api.Commits.create(project.id, 'f/x', 'two', [{ action: 'update', filePath: 'a.txt', content: 'B' }]);
said.file = Buffer.from((await api.RepositoryFiles.show(project.id, 'a.txt', 'f/x')).content, 'base64').toString();
const mr = await api.MergeRequests.create(project.id, 'f/x', 'main', 'T');
said.merge = [(await api.MergeRequests.all({ projectId: project.id, sourceBranch: 'f/x' })).length, (await api.MergeRequests.allPipelines(project.id, mr.iid)).length];
said.lint = (await api.Lint.lint(project.id, 'a: {script: [x]}')).valid;
const runner = await api.Users.createCIRunner("project_type", { projectId: project.id, tagList: ["x"] });
said.runner = [runner.token.slice(0, 5), (await api.Runners.show(runner.id)).tag_list];
await api.Runners.remove({ runnerId: runner.id });
const group = await api.Groups.create('Beaker', 'beaker-' + Date.now());
await api.GroupVariables.create(group.id, 'G', 'g');
said.group = [(await api.GroupVariables.all(group.id)).length, (await api.GroupMembers.all(group.id)).map((m) => m.access_level)];
said.members = (await api.ProjectMembers.all(project.id, { includeInherited: true })).map((m) => m.username);
said.scope = (await api.ProjectJobTokenScopes?.show?.(project.id))?.inbound_enabled ?? true;
console.log(JSON.stringify(said));
