//! The one list of cases. [`CASES`] and [`conformance_suite!`](crate::conformance_suite) are both made from it, so a new
//! line here reaches every adopter as a named test.

use mls_keep_core::{Capabilities, Durability, SwapScope};

use crate::harness::{CaseFuture, Harness};

/// What a harness has to offer beside [`Harness::open`] for some cases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Hook {
    /// [`Harness::copy`].
    Copy,
    /// [`Harness::location`] and [`Harness::open_at`]; and [`Harness::child`] without `conformance_suite!`.
    Processes,
    /// [`Harness::cut_connections`].
    CutConnections,
}

/// One case of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// `subject::case`, as the test is named.
    pub name: &'static str,
    /// Whether a backend with these promises must pass the case.
    pub needs: fn(&Capabilities) -> bool,
    /// What the harness must offer for the case to be run.
    pub hook: Option<Hook>,
    /// Runs the case. It panics when the backend breaks the contract.
    pub run: for<'a> fn(&'a dyn Harness) -> CaseFuture<'a>,
}

/// Hands the list to the macro `$with`, after `$args`: each subject with its cases, what a case needs to be promised, and the
/// hook that it needs.
#[doc(hidden)]
#[macro_export]
macro_rules! __cases {
    ([$($with:tt)+] $args:tt) => {
        $($with)+! { $args
            single {
                absent_is_none: anything,
                save_then_load: anything,
                save_replaces: anything,
                save_twice: anything,
                delete_removes: anything,
                delete_of_absent_is_ok: anything,
                save_after_delete: anything,
                empty_value: anything,
                every_byte: anything,
                many_lengths: anything,
                every_allowed_character: anything,
                shortest_and_longest_keys: anything,
                keys_that_begin_alike: anything,
                keys_that_differ_in_one_character: anything,
                names_with_a_meaning_elsewhere: anything,
            }
            commit {
                everything_takes_effect: anything,
                first_commit: anything,
                swap_alone: anything,
                removing_the_root: anything,
                deletes_of_absent_nodes: anything,
                repeated_put: anything,
                large_commit: anything,
                chain_of_commits: anything,
                conflict_keeps_what_the_root_names: anything,
                conflict_changes_nothing: atomic_commit,
                retry_after_conflict: anything,
                thousands_of_deletes: anything,
                root_that_stays_the_same: anything,
            }
            swap {
                none_expected_but_there: anything,
                some_expected_but_absent: anything,
                nearly_the_expected_root: anything,
                empty_root: anything,
                root_of_an_earlier_commit: anything,
                root_returns: anything,
                sees_saves_and_deletes: anything,
                roots_are_independent: anything,
                absent_stays_absent: anything,
            }
            list {
                empty_store: anything,
                byte_order: anything,
                prefix_is_exact: anything,
                empty_prefix: anything,
                no_match: anything,
                prefix_at_the_edges: anything,
                follows_changes: anything,
                pages_cover_everything: anything,
                page_after_an_absent_key: anything,
                page_after_a_key_outside: anything,
                extreme_limits: anything,
                many_keys: anything,
                pages_while_deleting: anything,
                loosely: anything,
            }
            many {
                load_many_keeps_the_order: anything,
                load_many_with_gaps_and_repeats: anything,
                load_many_of_none: anything,
                load_many_of_thousands: anything,
                load_many_is_of_one_moment: atomic_commit,
                commit_many_of_none: anything,
                commit_many_of_different_clients: anything,
                commit_many_with_a_conflict: anything,
                commit_many_for_one_root: anything,
                commit_many_in_a_chain: anything,
                commit_many_of_hundreds: anything,
            }
            limits {
                least_value_len: anything,
                largest_nodes: anything,
                promises_are_fixed: anything,
                longest_promised_value: a_testable_max_value_len,
                longer_than_promised: a_testable_max_value_len,
            }
            reopen {
                everything_acknowledged_is_there: durability,
                dropped_without_a_close: durability,
                again_and_again: durability,
                empty_stays_empty: durability,
                close_twice: anything,
                use_after_close: anything,
                deleted_bytes_are_gone: erased_files,
                commit_many_survives: durability,
                copied_while_open: durability with Copy,
            }
            errors {
                no_values_in_errors: anything,
                conflict_is_temporary: anything,
                goes_on_after_conflicts: anything,
            }
            concurrency {
                one_winner_each_round: races_within_a_handle,
                increments_add_up: races_within_a_handle,
                readers_see_whole_generations: anything,
                parallel_saves: anything,
                parallel_saves_of_one_key: anything,
                many_futures_on_one_thread: anything,
                dropped_futures: anything,
                one_winner_among_backends: races_between_backends,
                increments_among_backends_add_up: races_between_backends,
                readers_of_another_backend: races_between_backends,
                backends_see_each_other: races_between_backends,
                second_open_is_busy: exclusive_use,
            }
            processes {
                one_winner_each_round: races_between_backends with Processes,
                increments_add_up: races_between_backends with Processes,
                second_process_is_busy: exclusive_use with Processes,
                killed_process_loses_nothing: durability with Processes,
                one_keep: races_between_backends with Processes,
            }
            connections {
                cut_before_a_call: anything with CutConnections,
                cut_during_calls: anything with CutConnections,
            }
            keep {
                is_made_once: anything,
                is_made_once_by_racing_backends: races_between_backends,
                is_not_made_among_other_things: anything,
                wrong_key: anything,
                committed_records_are_found: anything,
                commits_leave_nothing_behind: anything,
                long_value: anything,
                large_client: anything,
                many_clients: anything,
                gc_collects_orphans: anything,
                conflict_is_replayed: anything,
                opens_again: durability,
                racing_writers: races_within_a_handle,
                racing_writers_on_two_backends: races_between_backends,
            }
        }
    };
}

macro_rules! table {
    ([] $($subject:ident { $($case:ident: $needs:ident $(with $hook:ident)?,)* })*) => {
        /// Every case of the suite, in the order of the subjects.
        pub const CASES: &[Case] = &[$($(
            Case {
                name: concat!(stringify!($subject), "::", stringify!($case)),
                needs: needs::$needs,
                hook: table!(@hook $($hook)?),
                run: |harness| Box::pin(crate::cases::$subject::$case(harness)),
            },
        )*)*];
    };
    (@hook) => { None };
    (@hook $hook:ident) => { Some(Hook::$hook) };
}

__cases! { [table] [] }

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Copy => "Harness::copy",
            Self::Processes => "Harness::location and open_at",
            Self::CutConnections => "Harness::cut_connections",
        })
    }
}

/// What a backend has to promise for a case to be run on it.
mod needs {
    use super::{Capabilities, Durability, SwapScope};

    /// Above this the case would be about the machine's memory.
    const MAX_TESTED_LEN: usize = 64 << 20;

    pub(super) fn anything(_: &Capabilities) -> bool {
        true
    }

    pub(super) fn atomic_commit(promised: &Capabilities) -> bool {
        promised.atomic_commit
    }

    pub(super) fn a_testable_max_value_len(promised: &Capabilities) -> bool {
        promised.max_value_len.is_some_and(|len| len <= MAX_TESTED_LEN)
    }

    pub(super) fn durability(promised: &Capabilities) -> bool {
        promised.durability > Durability::None
    }

    pub(super) fn erased_files(promised: &Capabilities) -> bool {
        promised.erases_deleted && promised.durability > Durability::None
    }

    /// The provided `commit` compares and then saves, so it is safe for a single writer only.
    pub(super) fn races_within_a_handle(promised: &Capabilities) -> bool {
        promised.swap >= SwapScope::Handle
    }

    pub(super) fn races_between_backends(promised: &Capabilities) -> bool {
        promised.swap == SwapScope::Everyone
    }

    pub(super) fn exclusive_use(promised: &Capabilities) -> bool {
        promised.swap == SwapScope::ExclusiveProcess
    }
}
