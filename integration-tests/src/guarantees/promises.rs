//! What is promised, and the tests that show it.

/// A promise and its tests, each `file.rs::test`.
pub struct Promise {
    /// One sentence, without a final stop.
    pub text: &'static str,
    /// The tests.
    pub tests: &'static [&'static str],
}

/// Promises that go together.
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// The promises.
    pub promises: &'static [Promise],
    /// What has to be known beside them.
    pub note: &'static str,
}

const fn promise(text: &'static str, tests: &'static [&'static str]) -> Promise {
    Promise { text, tests }
}

/// All of them, in the order of the page.
pub const SECTIONS: &[Section] = &[
    Section {
        title: "Any backend",
        promises: &[
            promise(
                "An operation is applied whole or not at all, whichever call of the backend fails, before or after taking effect; memory and storage agree afterwards, and the operation can be done again",
                &["faults.rs::an_operation_that_fails_at_any_call_of_an_atomic_backend_can_be_done_again"],
            ),
            promise(
                "The same on a backend that has four methods and no transactions, where a fault can stand between any two writes of a commit",
                &["faults.rs::an_operation_that_fails_at_any_call_of_four_methods_can_be_done_again"],
            ),
            promise(
                "The same when a future is dropped at any of its polls",
                &["faults.rs::an_operation_that_is_dropped_at_any_poll_can_be_done_again"],
            ),
            promise(
                "Any flipped bit of any stored value is noticed: never wrong data, never a panic",
                &["corruption.rs::every_flipped_bit_is_noticed"],
            ),
            promise(
                "So is any truncation, and any longer value",
                &["corruption.rs::every_truncation_and_every_longer_value_is_noticed"],
            ),
            promise(
                "Any value in the place of any other, and any missing one",
                &[
                    "corruption.rs::every_value_in_the_place_of_every_other_is_noticed",
                    "corruption.rs::every_deleted_value_is_noticed",
                ],
            ),
            promise(
                "An older root or node among newer ones",
                &["corruption.rs::an_older_root_without_all_of_its_nodes_is_noticed"],
            ),
            promise(
                "**Not noticed**: an older copy of the whole store, since there is no anchor outside of it. The header of another keep of the same master key opens as a keep without these clients",
                &["corruption.rs::an_older_copy_of_the_whole_store_opens_as_what_it_was"],
            ),
            promise(
                "A wrong key, salt or passphrase is `WrongKey`",
                &["corruption.rs::the_wrong_key_is_told_from_damage"],
            ),
            promise(
                "A newer format is refused and not touched",
                &[
                    "corruption.rs::a_newer_store_is_refused_and_not_touched",
                    "golden_store.rs::a_newer_format_is_refused_and_not_touched",
                ],
            ),
            promise(
                "Format version 1 is read for ever, and as docs/format.md says",
                &["golden_store.rs::the_golden_store_opens"],
            ),
            promise(
                "Hostile parameters of a passphrase cost nothing",
                &["corruption.rs::a_hostile_header_costs_nothing"],
            ),
            promise(
                "Two writers of one client never fork and lose no update: one is redone or gets `Conflict`",
                &[
                    "copies.rs::two_copies_of_a_client_never_fork",
                    "copies.rs::a_transaction_on_a_stale_copy_is_a_conflict_and_can_be_repeated",
                ],
            ),
            promise(
                "A Welcome that fails leaves the key package usable",
                &["restore_semantics.rs::a_welcome_that_fails_leaves_the_key_package_usable"],
            ),
            promise(
                "A received commit that was interrupted can be received again",
                &["restore_semantics.rs::a_received_commit_that_was_not_merged_can_be_received_again"],
            ),
            promise(
                "A message that arrives twice is known, with its text",
                &["restore_semantics.rs::a_message_that_comes_twice_is_known_with_its_text"],
            ),
            promise(
                "Key pairs of updates that came to nothing are deleted",
                &["restore_semantics.rs::updates_that_were_proposed_and_overtaken_leave_no_key_pair"],
            ),
            promise(
                "What is over a limit is `Invalid`, and changes nothing",
                &["restore_semantics.rs::what_is_over_a_limit_is_invalid_and_changes_nothing"],
            ),
            promise(
                "No secret and no plaintext in `Debug` or an error",
                &["leaks.rs::texts_for_people_hold_no_secret"],
            ),
            promise(
                "No node is left behind by a commit, and `gc` deletes what a crash left",
                &[
                    "sealed_map.rs::records_are_what_was_put_and_nothing_is_left_behind",
                    "sealed_map.rs::gc_deletes_what_no_root_names_and_nothing_else",
                ],
            ),
        ],
        note: "",
    },
    Section {
        title: "SQLite",
        promises: &[
            promise(
                "A process that is killed at any moment has everything that it acknowledged, and goes on with its peers in both directions",
                &["crash.rs::a_killed_client_has_all_that_was_acknowledged"],
            ),
            promise(
                "A commit is one transaction with one flush, and commits that wait share one",
                &["durability.rs::commit_many_is_one_transaction", "durability.rs::commits_that_wait_share_a_flush"],
            ),
            promise(
                "Durable through power loss on a medium that honours flushes: WAL with `synchronous=FULL`, read back",
                &["open.rs::every_setting_is_in_force"],
            ),
            promise(
                "Several processes on one client",
                &[
                    "processes.rs::two_processes_and_two_managers_send_as_one_client",
                    "durability.rs::two_processes_count_together",
                ],
            ),
            promise(
                "The files hold nothing that can be read: no identity, group id, name, key or message",
                &["leaks.rs::the_files_hold_nothing_that_can_be_read"],
            ),
            promise(
                "Deleted and replaced bytes are overwritten, and leave the log when it is closed",
                &["durability.rs::deleted_bytes_leave_every_file"],
            ),
            promise("The files can be read by their owner only", &["durability.rs::only_the_owner_can_read_the_files"]),
            promise(
                "A full or read-only disk is told, and nothing is lost",
                &[
                    "durability.rs::a_medium_that_is_full_or_read_only_is_refused",
                    "durability.rs::no_space_is_told_and_passes",
                ],
            ),
            promise(
                "A failed flush is an unknown outcome, never a success",
                &["durability.rs::a_failed_flush_is_an_unknown_outcome"],
            ),
            promise(
                "A database of another program, and what is no database, is refused and stays as it is",
                &["refuses.rs::the_database_of_another_program", "refuses.rs::what_is_no_database"],
            ),
            promise("Every case of the conformance suite that its claims ask for", &["suite.rs::every_case_is_a_test"]),
        ],
        note: "Power loss itself was not tried: the promise rests on SQLite's, and on its settings. A kill loses nothing that the system's cache holds, so the test of kills says nothing about it.",
    },
];
