//! Backends that are broken on purpose, each in one way, with the cases that are meant to find it. They test the suite.
//!
//! Not part of the API: what is here changes as the suite does.

mod batch;
mod broken;
mod commit;
mod files;
mod store;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use broken::Defect;
use files::Files;
use store::Store;

use crate::child::run_child;
use crate::harness::Harness;
use crate::registry::{CASES, Hook};
use crate::runner::run_case_of;

/// A backend that is broken in one way.
#[derive(Clone, Copy, Debug)]
pub struct Saboteur {
    /// What it does wrong.
    pub defect: Defect,
    /// The cases that are meant to find it.
    pub caught_by: &'static [&'static str],
}

impl Saboteur {
    /// Runs the cases that are not meant to find it, and returns those that do.
    #[must_use]
    pub fn also_caught_by(&self) -> Vec<&'static str> {
        let others = CASES.iter().map(|case| case.name).filter(|name| !self.caught_by.contains(name));
        others.filter(|name| fails(name, || harness(self.defect))).collect()
    }

    /// Runs the cases that are meant to find it, and returns those that do not.
    #[must_use]
    pub fn missed(&self) -> Vec<&'static str> {
        self.caught_by.iter().copied().filter(|case| !fails(case, || harness(self.defect))).collect()
    }
}

/// The cases that fail on the same backends with nothing broken: none, or the suite cries wolf.
#[must_use]
pub fn false_alarms() -> Vec<&'static str> {
    let in_memory = CASES.iter().filter(|case| fails(case.name, || Store::new(None)));
    let about_processes = CASES.iter().filter(|case| case.hook == Some(Hook::Processes));
    let in_files = about_processes
        .filter(|case| [false, true].iter().any(|exclusive| fails(case.name, || Files::new(*exclusive, None))));
    in_memory.chain(in_files).map(|case| case.name).collect()
}

/// Serves as the other process of a case on a backend in files, if this process was started for that, and says whether it
/// was. A program that runs saboteurs calls it before all else, or in an ignored test of the name `child`.
#[must_use]
pub fn serve() -> bool {
    run_child(&Files::new(false, None))
}

/// All of them.
#[must_use]
pub fn saboteurs() -> &'static [Saboteur] {
    SABOTEURS
}

/// A harness on a broken backend.
#[must_use]
pub fn harness(defect: Defect) -> Box<dyn Harness> {
    match defect {
        Defect::LocksOnlyItsProcess | Defect::HalfMadeForOtherProcesses => Box::new(Files::new(false, Some(defect))),
        Defect::SharedByProcesses | Defect::KilledKeepsItsLock => Box::new(Files::new(true, Some(defect))),
        _ => Box::new(Store::new(Some(defect))),
    }
}

fn fails<H: Harness>(case: &str, make: impl Fn() -> H) -> bool {
    catch_unwind(AssertUnwindSafe(|| run_case_of(None, case, make))).is_err()
}

macro_rules! saboteurs {
    ($($defect:ident: $($case:literal)*;)*) => {
        const SABOTEURS: &[Saboteur] = &[$(Saboteur { defect: Defect::$defect, caught_by: &[$($case),*] },)*];
    };
}

saboteurs! {
    AbsentIsAnError: "single::absent_is_none";
    LosesSaves: "single::save_then_load" "concurrency::parallel_saves";
    AppendsOnSave: "single::save_replaces";
    SavesOnlyOnce: "single::save_twice" "single::save_replaces";
    LosesDeletes: "single::delete_removes" "list::pages_while_deleting";
    DeleteOfAbsentFails: "single::delete_of_absent_is_ok";
    DeletedForEver: "single::save_after_delete";
    EmptyValueIsAbsent: "single::empty_value";
    TextMode: "single::every_byte";
    DropsAPartBlock: "single::many_lengths";
    MixesUpCharacters: "single::every_allowed_character";
    CutsKeys: "single::shortest_and_longest_keys" "single::keys_that_differ_in_one_character";
    IgnoresSlashes: "single::keys_that_begin_alike";
    HidesDotFiles: "single::names_with_a_meaning_elsewhere";

    AppliesHalf: "commit::everything_takes_effect" "commit::first_commit"
        "keep::committed_records_are_found";
    SkipsSwapsAlone: "commit::swap_alone" "keep::is_made_once" "keep::wrong_key";
    KeepsRoots: "commit::removing_the_root";
    DeletesUpToAnAbsentOne: "commit::deletes_of_absent_nodes";
    RefusesRepeatedPuts: "commit::repeated_put";
    CutsLargeCommits: "commit::large_commit" "limits::largest_nodes" "keep::long_value" "keep::large_client";
    CutsLongDeletes: "commit::thousands_of_deletes";
    ForgetsDeletes: "commit::everything_takes_effect" "commit::chain_of_commits" "commit::large_commit"
        "keep::commits_leave_nothing_behind" "keep::many_clients" "keep::gc_collects_orphans";
    DeletesBeforeSwap: "commit::conflict_keeps_what_the_root_names";
    ConflictKeepsPuts: "commit::conflict_changes_nothing";
    SkipsAnUnchangedRoot: "commit::root_that_stays_the_same" "swap::absent_stays_absent";
    ConflictIsBusy: "commit::retry_after_conflict" "errors::conflict_is_temporary" "keep::conflict_is_replayed";

    IgnoresExpected: "swap::none_expected_but_there" "swap::some_expected_but_absent" "swap::root_of_an_earlier_commit";
    ComparesLengths: "swap::nearly_the_expected_root";
    EmptyRootIsNone: "swap::empty_root";
    TakesAReturnForARepeat: "swap::root_returns";
    ComparesWithItsLastCommit: "swap::sees_saves_and_deletes";
    HasOneRoot: "swap::roots_are_independent";

    ListOfNothingFails: "list::empty_store";
    ListsUnsorted: "list::byte_order";
    ListsBySegment: "list::prefix_is_exact";
    EmptyPrefixListsOneLevel: "list::empty_prefix";
    PrefixIsAPattern: "list::no_match";
    PrefixEndsAtZ: "list::prefix_at_the_edges";
    ListsDeleted: "list::follows_changes";
    PageIncludesAfter: "list::pages_cover_everything";
    PageIsOneShort: "list::pages_cover_everything" "keep::is_not_made_among_other_things";
    PageCountsFromTheStart: "list::pages_while_deleting";
    PageOfDeletedStartsAnew: "list::page_after_an_absent_key";
    PageAfterOutsideIsEmpty: "list::page_after_a_key_outside";
    LimitZeroIsNoLimit: "list::extreme_limits";
    ListsThousand: "list::many_keys";
    ListsNothingLoosely: "list::loosely";

    LoadManySorts: "many::load_many_keeps_the_order";
    LoadManySkipsMissing: "many::load_many_with_gaps_and_repeats";
    LoadManyOfNoneFails: "many::load_many_of_none";
    LoadsThousand: "many::load_many_of_thousands";
    BatchAnswersOnce: "many::commit_many_of_none" "many::commit_many_of_different_clients";
    BatchStopsAtConflict: "many::commit_many_with_a_conflict";
    BatchComparesFirst: "many::commit_many_for_one_root";
    BatchSeesOnlyTheStart: "many::commit_many_in_a_chain";
    CutsLongBatches: "many::commit_many_of_hundreds";

    CutsLongValues: "limits::least_value_len";
    PromisesShortValues: "limits::promises_are_fixed";
    PromisesMoreThanItKeeps: "limits::longest_promised_value";
    TakesMoreThanItPromises: "limits::longer_than_promised";

    ForgetsAtClose: "reopen::everything_acknowledged_is_there" "reopen::dropped_without_a_close";
    LosesTheLastCommit: "reopen::everything_acknowledged_is_there" "reopen::again_and_again" "keep::opens_again";
    SavesWithTheNextSave: "reopen::dropped_without_a_close";
    WritesAtClose: "reopen::dropped_without_a_close" "reopen::commit_many_survives";
    TearsTheLastValue: "reopen::everything_acknowledged_is_there" "reopen::again_and_again";
    DeletedReturns: "reopen::empty_stays_empty";
    BatchIsNotFlushed: "reopen::commit_many_survives";
    CloseTwiceFails: "reopen::close_twice";
    PartlyPoisoned: "reopen::use_after_close";
    LeavesDeletedBytes: "reopen::deleted_bytes_are_gone";

    ErrorShowsRoot: "errors::no_values_in_errors";
    PoisonedByConflicts: "errors::goes_on_after_conflicts";

    ComparesTooEarly: "concurrency::one_winner_each_round" "concurrency::increments_add_up" "keep::racing_writers";
    NodesAfterRoot: "concurrency::readers_see_whole_generations" "concurrency::readers_of_another_backend";
    LosesParallelSaves: "concurrency::parallel_saves";
    SavesInTwoSteps: "concurrency::parallel_saves_of_one_key";
    LeavesItsLock: "concurrency::dropped_futures" "concurrency::many_futures_on_one_thread";
    TwoStores: "concurrency::one_winner_among_backends" "concurrency::increments_among_backends_add_up"
        "keep::racing_writers_on_two_backends";
    ReadsFromItsCache: "concurrency::backends_see_each_other";
    SharesAnExclusiveStore: "concurrency::second_open_is_busy";

    LoadsOneByOne: "many::load_many_is_of_one_moment";
    WritesWhenItEnds: "reopen::copied_while_open";
    HalfMadeForOthers: "keep::is_made_once_by_racing_backends";
    LandsAndSaysUnavailable: "connections::cut_before_a_call" "connections::cut_during_calls";
    NeverConnectsAgain: "connections::cut_before_a_call" "connections::cut_during_calls";
    LocksOnlyItsProcess: "processes::one_winner_each_round" "processes::increments_add_up";
    SharedByProcesses: "processes::second_process_is_busy";
    KilledKeepsItsLock: "processes::killed_process_loses_nothing";
    HalfMadeForOtherProcesses: "processes::one_keep";
}
