// The sweep as a whole, in a world where training is a formula: it finds what is known, and its table does not depend on the order in which
// trials end, the number of jobs, or deaths.
// SPDX-License-Identifier: Apache-2.0
#include "sweep/run_sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <thread>

#include "proto/config.pb.h"
#include "sweep/judge.h"
#include "tests/sweep/world.h"

namespace lockstep::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

SweepOptions options() { return {.batches = parse_batches("64..2048"), .seeds = 3, .target = 0.9}; }

struct Death {};

std::string table(const SweepPlan& plan, const TrialStore& store) { return sweep_json(judge_sweep(plan, store.load()), false); }

class RunSweep : public ::testing::Test {
 protected:
  SweepPlan plan(const std::string& name, const SweepOptions& sweep = options()) {
    return plan_sweep(world_config(), sweep, kWorldData, folder_ / name, 1);
  }

  // The table of an uninterrupted sweep.
  std::string reference() {
    const SweepPlan sweep = plan("reference");
    const TrialStore store(sweep);
    WorldRunner runner(world_, sweep);
    EXPECT_EQ(run_sweep(sweep, store, runner, quiet()), SweepEnd::kComplete);
    return table(sweep, store);
  }

  // Starts the sweep again after each death; how many there were.
  int die_until_complete(const SweepPlan& sweep) {
    int deaths = 0;
    for (bool complete = false; !complete && deaths < 1000;) {
      const TrialStore store(sweep);
      WorldRunner runner(world_, sweep, static_cast<std::uint64_t>(deaths));
      runner.on_poll = [&](int polls) {
        if (polls > 2 + deaths % 5) throw Death{};
      };
      try {
        complete = run_sweep(sweep, store, runner, quiet(1 + deaths % 3)) == SweepEnd::kComplete;
      } catch (const Death&) {
        ++deaths;
      }
    }
    EXPECT_LT(deaths, 1000);
    return deaths;
  }

  // Folders' names are no part of the table.
  void expect_reference(const SweepPlan& sweep, const TrialStore& store) { EXPECT_EQ(table(sweep, store), reference()); }

  TempFolder folder_;
  World world_;
};

TEST_F(RunSweep, EachRungKeepsTheBestThirdAndTheBestGetsAllSeeds) {
  const SweepPlan sweep = plan("halving", {.batches = {2048}});
  const TrialStore store(sweep);
  WorldRunner runner(world_, sweep);
  run_sweep(sweep, store, runner, quiet());
  std::map<std::int64_t, std::set<double>> trained;  // rates by rung's end, of the first seed
  std::set<std::uint64_t> seeds;
  for (const TrialRequest& task : runner.tasks()) {
    if (task.key.batch != 2048) continue;  // the probe
    (task.key.seed == 1 ? trained[task.until_step] : trained[-1]).insert(task.key.lr);
    seeds.insert(task.key.seed);
  }
  const BatchPlan& batch = sweep.batches.front();
  EXPECT_THAT(trained[batch.rung_steps[0]], ElementsAre(0.8, 1.6, 3.2, 6.4, 12.8));
  EXPECT_THAT(trained[batch.rung_steps[1]], ElementsAre(0.8, 1.6)) << "nearest to the world's best, 1.28";
  EXPECT_THAT(trained[batch.rung_steps[2]], ElementsAre(0.8, 1.6));
  EXPECT_THAT(trained[-1], ElementsAre(1.6));
  EXPECT_THAT(seeds, ElementsAre(1, 2, 3));
}

// Samples to the target are those of trials that go on to the end, for fewer of them trained.
TEST_F(RunSweep, ATrialThatIsThereIsTrainedNoFurther) {
  SweepOptions racing = options();
  racing.select = Select::kTarget;
  const SweepPlan whole = plan("whole", racing);
  racing.stop_at_target = true;
  const SweepPlan sweep = plan("racing", racing);
  const auto judged = [&](const SweepPlan& one) {
    const TrialStore store(one);
    WorldRunner runner(world_, one);
    EXPECT_EQ(run_sweep(one, store, runner, quiet(2)), SweepEnd::kComplete);
    return judge_sweep(one, store.load());
  };
  const SweepResult to_end = judged(whole), to_target = judged(sweep);
  EXPECT_TRUE(to_target.complete);
  std::int64_t trained = 0, trained_to_end = 0;
  ASSERT_EQ(to_target.batches.size(), to_end.batches.size());
  for (std::size_t i = 0; i < to_target.batches.size(); ++i) {
    const BatchSummary &here = to_target.batches[i], &there = to_end.batches[i];
    EXPECT_EQ(here.best_lr, there.best_lr) << here.batch;
    EXPECT_EQ(here.samples_to_target, there.samples_to_target) << here.batch;
    EXPECT_EQ(here.without_loss, here.reached == 3) << here.batch;
    EXPECT_FALSE(here.difference) << "accuracies at the target are not compared";
  }
  for (const TrialRecord& trial : to_target.trials) {
    trained += trial.samples;
    const bool probe = TrialKey{trial.batch, trial.lr, trial.seed} == sweep.probe;
    if (probe) {
      EXPECT_EQ(trial.steps, trial.total_steps) << "its noise is that of the config as given";
    } else if (trial.to_target) {
      EXPECT_EQ(trial.steps, trial.to_target->steps);
    }
  }
  for (const TrialRecord& trial : to_end.trials) trained_to_end += trial.samples;
  EXPECT_LT(trained, trained_to_end);
  EXPECT_EQ(to_target.verdict.fit.critical_batch, to_end.verdict.fit.critical_batch);
  EXPECT_THAT(to_target.verdict.text.front(), HasSubstr("Largest batch that reached 90.00 % with all its seeds: "));
}

TEST_F(RunSweep, TheTableDependsNeitherOnJobsNorOnTheOrderOfEnds) {
  for (const int jobs : {1, 2, 7}) {
    const SweepPlan sweep = plan("jobs" + std::to_string(jobs));
    const TrialStore store(sweep);
    WorldRunner runner(world_, sweep, static_cast<std::uint64_t>(jobs) * 31);
    ASSERT_EQ(run_sweep(sweep, store, runner, quiet(jobs)), SweepEnd::kComplete);
    expect_reference(sweep, store);
  }
}

TEST_F(RunSweep, KilledAtManyMomentsAndContinuedTheTableIsTheSame) {
  const SweepPlan sweep = plan("killed");
  EXPECT_GE(die_until_complete(sweep), 20);
  expect_reference(sweep, TrialStore(sweep));
}

TEST_F(RunSweep, KilledSweepsThatStopAtTheTargetGiveTheSameTable) {
  SweepOptions racing = options();
  racing.select = Select::kTarget;
  racing.stop_at_target = true;
  const SweepPlan killed = plan("killed", racing), whole = plan("uninterrupted", racing);
  EXPECT_GE(die_until_complete(killed), 20);
  const TrialStore store(whole);
  WorldRunner runner(world_, whole);
  run_sweep(whole, store, runner, quiet());
  EXPECT_EQ(table(killed, TrialStore(killed)), table(whole, store));
}

TEST_F(RunSweep, NothingIsTrainedTwice) {
  const SweepPlan sweep = plan("once");
  const TrialStore store(sweep);
  WorldRunner runner(world_, sweep);
  run_sweep(sweep, store, runner, quiet(3));
  std::map<std::string, int> times;
  for (const TrialRequest& task : runner.tasks()) ++times[task.key.name() + "@" + std::to_string(task.until_step)];
  for (const auto& [task, count] : times) EXPECT_EQ(count, 1) << task;
  WorldRunner again(world_, sweep);
  EXPECT_EQ(run_sweep(sweep, store, again, quiet()), SweepEnd::kComplete);
  EXPECT_EQ(again.started(), 0) << "it was complete";
}

TEST_F(RunSweep, SeveralProcessesShareOneFolder) {
  const SweepPlan sweep = plan("shared");
  const TrialStore store(sweep);
  WorldRunner one(world_, sweep, 1), two(world_, sweep, 2);
  const auto slow = [](int) { std::this_thread::sleep_for(std::chrono::microseconds(200)); };
  one.on_poll = two.on_poll = slow;
  std::thread other([&] { EXPECT_EQ(run_sweep(sweep, store, two, quiet()), SweepEnd::kComplete); });
  EXPECT_EQ(run_sweep(sweep, store, one, quiet()), SweepEnd::kComplete);
  other.join();
  EXPECT_GT(one.started(), 0);
  EXPECT_GT(two.started(), 0);
  std::set<std::string> tasks;
  for (const WorldRunner* runner : {&one, &two})
    for (const TrialRequest& task : runner->tasks())
      EXPECT_TRUE(tasks.insert(task.key.name() + "@" + std::to_string(task.until_step)).second) << task.key.name() << " was trained by both";
  expect_reference(sweep, store);
}

TEST_F(RunSweep, ADivergingTrialIsCountedAndMakesRoom) {
  world_.diverges_above = 4;  // 0.8 to 12.8 at batch 2048, where 1.28 is the best: 6.4 and 12.8 diverge
  const SweepPlan sweep = plan("diverging", {.batches = {2048}, .target = 0.9});
  const TrialStore store(sweep);
  WorldRunner runner(world_, sweep);
  EXPECT_EQ(run_sweep(sweep, store, runner, quiet()), SweepEnd::kComplete);
  const SweepResult result = judge_sweep(sweep, store.load());
  EXPECT_EQ(result.batches[0].diverged, 2);
  EXPECT_EQ(result.batches[0].best_lr, 1.6);
  EXPECT_THAT(result.verdict.text, ::testing::Contains(HasSubstr("2 trials diverged")));
}

TEST_F(RunSweep, WhereEveryRateDivergesTheBatchHasNone) {
  world_.diverges_above = 0;
  const SweepPlan sweep = plan("all", {.batches = {64, 128}, .target = 0.9});
  const TrialStore store(sweep);
  WorldRunner runner(world_, sweep);
  EXPECT_EQ(run_sweep(sweep, store, runner, quiet()), SweepEnd::kComplete);
  const SweepResult result = judge_sweep(sweep, store.load());
  EXPECT_TRUE(result.complete);
  EXPECT_FALSE(result.batches[0].best_lr);
  EXPECT_THAT(result.verdict.text, ElementsAre(HasSubstr("every learning rate diverged")));
}

TEST_F(RunSweep, ALostTrialIsTriedAgainButNotForEver) {
  const SweepPlan sweep = plan("lost", {.batches = {128}});
  const TrialStore store(sweep);
  WorldRunner unlucky(world_, sweep);
  int losses = 0;
  unlucky.on_end = [&](TrialEnd& end) {
    if (losses++ % 2 == 0) end = {.key = end.key, .kind = TrialEnd::Kind::kLost, .code = ExitCode::kEnvironment, .message = "exit code 137"};
  };
  EXPECT_EQ(run_sweep(sweep, store, unlucky, quiet()), SweepEnd::kComplete);
  const SweepPlan other = plan("hopeless", {.batches = {128}});
  const TrialStore none(other);
  WorldRunner hopeless(world_, other);
  hopeless.on_end = [](TrialEnd& end) {
    end = {.key = end.key, .kind = TrialEnd::Kind::kLost, .code = ExitCode::kEnvironment, .message = "exit code 137"};
  };
  try {
    run_sweep(other, none, hopeless, quiet());
    FAIL();
  } catch (const EnvironmentError& error) {
    EXPECT_THAT(error.what(), HasSubstr("trial 128-0.4-1 was lost 3 times: exit code 137"));
    EXPECT_EQ(hopeless.started(), 3);
  }
}

TEST_F(RunSweep, AFullDiskEndsItAndTheNextStartGoesOn) {
  const SweepPlan sweep = plan("full");
  {
    const TrialStore store(sweep);
    WorldRunner runner(world_, sweep);
    int ends = 0;
    runner.on_end = [&](TrialEnd& end) {
      if (++ends == 5) end = {.key = end.key, .kind = TrialEnd::Kind::kFailed, .code = ExitCode::kIo, .message = "write: No space left on device"};
    };
    try {
      run_sweep(sweep, store, runner, quiet(3));
      FAIL();
    } catch (const EnvironmentError& error) {
      EXPECT_EQ(error.code(), ExitCode::kIo);
      EXPECT_THAT(error.what(), HasSubstr("No space left"));
    }
  }
  const TrialStore store(sweep);
  WorldRunner runner(world_, sweep);
  EXPECT_EQ(run_sweep(sweep, store, runner, quiet()), SweepEnd::kComplete);
  expect_reference(sweep, store);
}

TEST_F(RunSweep, StopsWhenAskedAndGoesOn) {
  const SweepPlan sweep = plan("stopped");
  const TrialStore store(sweep);
  WorldRunner runner(world_, sweep);
  RunSweepOptions run = quiet(2);
  bool stop = false;
  runner.on_poll = [&](int polls) { stop = stop || polls > 9; };
  run.stop_wanted = [&] { return stop; };
  EXPECT_EQ(run_sweep(sweep, store, runner, run), SweepEnd::kStopped);
  EXPECT_FALSE(judge_sweep(sweep, store.load()).complete);
  WorldRunner second(world_, sweep);
  EXPECT_EQ(run_sweep(sweep, store, second, quiet()), SweepEnd::kComplete);
  expect_reference(sweep, store);
}

TEST_F(RunSweep, ABudgetTooSmallForWhatIsLeftBeginsNothingMore) {
  const SweepPlan sweep = plan("budget");
  const TrialStore store(sweep);
  WorldRunner runner(world_, sweep);
  RunSweepOptions run = quiet();
  run.budget_s = 20;  // of the world's seconds, which its trials claim to take: a rung of the probe takes some 14
  EXPECT_EQ(run_sweep(sweep, store, runner, run), SweepEnd::kBudget);
  const SweepResult result = judge_sweep(sweep, store.load());
  EXPECT_FALSE(result.complete);
  EXPECT_FALSE(result.missing.empty());
  EXPECT_GT(runner.started(), 0);
  WorldRunner second(world_, sweep);
  EXPECT_EQ(run_sweep(sweep, store, second, quiet()), SweepEnd::kComplete);
  expect_reference(sweep, store);
}

TEST_F(RunSweep, AnotherSweepInTheFolderIsRefused) {
  const SweepPlan sweep = plan("mine");
  { const TrialStore store(sweep); }
  { const TrialStore store(sweep); }  // the same again
  SweepOptions other = options();
  other.keep = 3;
  try {
    const SweepPlan theirs = plan("mine", other);
    const TrialStore store(theirs);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::kCantCreate);
    EXPECT_THAT(error.what(), HasSubstr("holds another sweep; what differs:\n    kept at least: there 2, here 3"));
  }
}

TEST_F(RunSweep, AFolderWithSomethingElseIsRefused) {
  std::filesystem::create_directories(folder_ / "photos/holidays");
  const SweepPlan sweep = plan("photos");
  EXPECT_THROW(TrialStore{sweep}, UserError);
  const SweepPlan nowhere = plan_sweep(world_config(), options(), kWorldData, "/proc/sweep", 1);
  EXPECT_THROW(TrialStore{nowhere}, EnvironmentError);
}

TEST_F(RunSweep, ADamagedTrialIsNamed) {
  const SweepPlan sweep = plan("damaged");
  const TrialStore store(sweep);
  const TrialKey key = *sweep.probe;
  { const auto claim = store.claim(key); }
  store.save(key, {.rung = 0});
  EXPECT_EQ(store.load(key)->rung, 0);
  const std::string text =
      progress_json({.rung = 1, .message = "x", .measured = {.evaluations = {{3, 0.5, 0.25}}, .noise = {{3, 7}}, .digest = "d"}});
  for (std::size_t length = 0; length + 2 < text.size(); ++length)
    EXPECT_THROW(parse_progress(text.substr(0, length), "trial.json"), UserError) << length;
  EXPECT_EQ(progress_json(parse_progress(text, "trial.json")), text);
}

TEST_F(RunSweep, ATrialThatDoesNotFitThePlanIsRefused) {
  const SweepPlan sweep = plan("misfit");
  const TrialStore store(sweep);
  const TrialKey key = *sweep.probe;
  { const auto claim = store.claim(key); }
  const std::int64_t end = sweep.base_plan.total_steps;
  const auto is_refused = [&](const TrialProgress& progress) {
    store.save(key, progress);
    try {
      store.load();
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return true;
    }
    return false;
  };
  EXPECT_FALSE(is_refused({.rung = 2, .measured = {.evaluations = {{1, 1, 0.5}, {end, 20, 0.5}}}}));
  EXPECT_TRUE(is_refused({.rung = 3}));
  EXPECT_TRUE(is_refused({.rung = -2}));
  EXPECT_TRUE(is_refused({.rung = 2, .measured = {.evaluations = {{end + 1, 1, 0.5}}}}));
  EXPECT_TRUE(is_refused({.rung = 2, .measured = {.evaluations = {{end, 1, 0.5}, {1, 1, 0.5}}}}));
  const std::string text = progress_json({.rung = 1});
  for (const char* rung : {"1.5", "true", "1e300", "4294967297", "\"1\""}) {
    std::string changed = text;
    changed.replace(changed.find("\"rung\": 1"), 9, std::string("\"rung\": ") + rung);
    EXPECT_THROW(parse_progress(changed, "trial.json"), UserError) << rung;
  }
}

TEST_F(RunSweep, AMovedSweepTrainsWhereItLies) {
  const SweepPlan there = plan("there");
  { const auto claim = TrialStore(there).claim(*there.probe); }
  std::filesystem::rename(folder_ / "there", folder_ / "here");
  const SweepPlan here = plan("here");
  { const auto claim = TrialStore(here).claim(*here.probe); }
  const std::string folder = here.folder_of(*here.probe);
  std::ifstream file(folder + "/trial.pbtxt");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(parse_config(text, "trial.pbtxt").config().run_dir(), folder);
}

TEST_F(RunSweep, AClaimExcludesOthersUntilItEnds) {
  const SweepPlan sweep = plan("claims");
  const TrialStore store(sweep), other(sweep);
  std::optional<TrialClaim> claim = store.claim(*sweep.probe);
  ASSERT_TRUE(claim);
  EXPECT_FALSE(other.claim(*sweep.probe));
  claim.reset();
  EXPECT_TRUE(other.claim(*sweep.probe));
}

}  // namespace
}  // namespace lockstep::testing
