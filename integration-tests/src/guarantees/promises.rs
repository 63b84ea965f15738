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
                "Making a client, deleting one and collecting garbage can be done again as well, on either; a fault that passes leaves no node of a deleted client",
                &[
                    "faults.rs::a_client_that_was_not_created_can_be_created_again",
                    "faults.rs::a_client_that_was_not_deleted_can_be_deleted_again",
                    "faults.rs::garbage_that_was_not_collected_can_be_collected_again",
                ],
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
                "**Not noticed by a process that starts anew**, since there is no anchor outside of the store: an older copy of the whole store, of one client alone, or a store whose log was deleted. The header of another keep of the same master key opens as a keep without these clients",
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
                "Parameters of a passphrase that are out of bounds are refused before any memory is taken. Within the bounds a hostile header can cost 1 GiB and some ten seconds; an application may set lower bounds",
                &[
                    "corruption.rs::a_hostile_header_costs_nothing",
                    "encryption.rs::a_header_over_the_limit_is_refused_before_any_work",
                ],
            ),
            promise(
                "Two writers of one client never fork and lose no update: one is redone or gets `Conflict`. Not on a backend that promises one writer only: there the application sees to it that there is one",
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
                "No node is left behind by a commit",
                &["sealed_map.rs::records_are_what_was_put_and_nothing_is_left_behind"],
            ),
            promise(
                "What a commit that was cut has left is collected by the next opening of the client (up to 20,000 nodes), by `gc`, and by a sweep of the keep, which harms no commit that is under way",
                &[
                    "forward_only.rs::what_a_commit_that_was_cut_has_left_is_collected_by_the_next_opening",
                    "sealed_map.rs::gc_deletes_what_no_root_names_and_nothing_else",
                    "forward_only.rs::a_sweep_deletes_what_no_root_names_and_nothing_else",
                    "forward_only.rs::a_sweep_does_not_harm_a_commit_that_is_under_way",
                ],
            ),
            promise(
                "Record keys, values, keys and passphrases that this code holds are wiped before their memory is freed; what OpenMLS holds is its own",
                &[
                    "wiped.rs::committing_and_conflicts_wipe",
                    "wiped.rs::loading_wipes",
                    "wiped.rs::an_error_half_way_through_loading_wipes",
                    "wiped.rs::keys_and_passphrases_are_wiped",
                    "wiped.rs::archives_are_made_and_read_in_memory_that_is_wiped",
                ],
            ),
        ],
        note: "",
    },
    Section {
        title: "Saving at an interval",
        promises: &[
            promise(
                "No key is used twice, whatever is killed when, on every local adapter; without reservations the same test finds keys that are",
                &[
                    "interval.rs::a_killed_client_that_saves_seldom_uses_no_key_twice",
                    "interval.rs::without_reservations_a_killed_client_uses_keys_twice",
                ],
            ),
            promise(
                "The same with storage that fails or whose answer is lost, calls that are dropped, and a second process",
                &["interval_schedules.rs::no_key_is_used_twice_whatever_goes_wrong_with_the_storage"],
            ),
            promise(
                "The same in any order of calls, of one process that changes its policy and saves by hand, or of two, with commits that fail, never end, or are not seen",
                &[
                    "keys_once.rs::no_key_is_used_twice_in_any_order_of_calls",
                    "adversary.rs::what_was_sent_by_hand_is_not_taken_for_reserved",
                ],
            ),
            promise(
                "A process that has heard that its client was moved or deleted sends nothing that it has reserved",
                &[
                    "adversary.rs::a_process_with_reserved_messages_shares_no_key_with_the_client_that_has_moved",
                    "adversary.rs::a_process_that_has_heard_that_the_client_was_deleted_sends_nothing_that_it_has_reserved",
                    "adversary.rs::a_process_that_has_read_that_the_client_is_another_one_sends_nothing_that_it_has_reserved",
                ],
            ),
            promise(
                "What is not a message is durable before its result is returned, with everything that waited",
                &["interval.rs::what_is_not_a_message_is_durable_at_once_with_all_that_waited"],
            ),
            promise(
                "`receive --watch --save every:SECONDS` saves when it is due and at the end that is asked for, and removes a file when what it says is saved, not before",
                &["watch.rs::a_file_is_removed_when_what_it_says_is_saved_and_not_before"],
            ),
            promise(
                "A message that was received and acknowledged when its save had come is there; one that was not can be received again",
                &[
                    "interval.rs::a_received_message_is_covered_by_the_save_that_stores_it",
                    "interval.rs::a_killed_client_that_saves_seldom_uses_no_key_twice",
                ],
            ),
            promise(
                "A save comes when it is due, by an operation or by a task",
                &[
                    "interval.rs::a_save_comes_when_it_is_due",
                    "saver.rs::a_save_comes_when_it_is_due_although_nothing_happens",
                ],
            ),
            promise(
                "No more is reserved than receivers tolerate to be missing",
                &["interval.rs::more_than_the_receivers_tolerate_is_not_reserved"],
            ),
        ],
        note: "What was sent and not saved is missing in the history and the outbox after an unclean end.",
    },
    Section {
        title: "Coming from elsewhere",
        promises: &[
            promise(
                "What OpenMLS's own providers have stored, those of OpenMLS 0.8 and 0.9, in JSON or CBOR, goes on with its peers: messages, commits, queued updates, staged commits, key packages, pre-shared keys",
                &["import.rs::an_imported_client_goes_on_with_its_peers"],
            ),
            promise(
                "So does a group of any provider whose codec is self-describing",
                &["import.rs::a_group_is_read_from_any_provider"],
            ),
            promise(
                "What is left is said, with the reason",
                &[
                    "import.rs::what_is_there_is_imported_and_what_is_left_says_why",
                    "import.rs::a_group_without_its_signature_key_is_left",
                ],
            ),
            promise(
                "An import that was interrupted can be made again",
                &["import.rs::an_import_that_is_interrupted_is_made_again"],
            ),
            promise(
                "One that is made once more brings nothing back: no group that was forgotten since, no key package that was used",
                &[
                    "import.rs::what_was_imported_and_is_gone_does_not_come_back_by_a_second_import",
                    "import.rs::a_group_that_must_be_entered_anew_is_left",
                ],
            ),
            promise("The file is only read", &["import.rs::a_database_is_not_changed_by_reading"]),
            promise(
                "The keys of the next 100 messages of each group are skipped, which may have been sent and are not in the file",
                &["import.rs::what_was_sent_after_the_last_save_costs_no_key_twice"],
            ),
            promise(
                "What a database could run is not run, and a forged one ends in bounded memory; the readers of files are fuzzed",
                &[
                    "import.rs::what_a_database_could_run_is_not_run",
                    "import.rs::a_forged_tree_of_rows_without_end_is_refused",
                ],
            ),
            promise(
                "A damaged file is refused, or what is damaged in it is left",
                &["import.rs::what_is_damaged_is_left_or_refused_and_nothing_panics"],
            ),
            promise(
                "The commands of the guide lead to a client whose messages its peers read",
                &["import.rs::the_guide_leads_from_a_database_to_a_client_that_goes_on"],
            ),
        ],
        note: "What is imported must not be used any more by the application that it is from: it would use the same keys again.",
    },
    Section {
        title: "Backups and moves",
        promises: &[
            promise(
                "A restoration that is cut anywhere, on every local adapter, leaves the whole client or none, and can be done again; one that replaces a client leaves the old one or the restored one",
                &[
                    "cuts.rs::a_restoration_that_is_cut_anywhere_leaves_all_or_nothing",
                    "cuts.rs::a_replacement_that_is_cut_anywhere_leaves_the_old_client_or_the_restored_one",
                ],
            ),
            promise(
                "Of a client that moves never two can send, and never none while there is an archive: the export cut at every point, dropped at every poll, and the import cut at every point",
                &[
                    "cuts.rs::of_a_client_that_moves_never_two_can_send_and_never_none",
                    "cuts.rs::an_export_whose_future_is_dropped_leaves_one_that_can_send",
                    "cuts.rs::an_import_that_is_cut_anywhere_is_done_or_can_be_done_again_and_once",
                ],
            ),
            promise(
                "The same of the program, killed at every system call with which it makes something durable, on every local adapter; and of a restoration, which sends nothing",
                &[
                    "killed_moves.rs::a_move_out_that_is_killed_anywhere_leaves_one_client_that_can_send",
                    "killed_moves.rs::a_move_in_that_is_killed_anywhere_is_done_or_can_be_done_again",
                    "killed_moves.rs::a_restoration_that_is_killed_anywhere_is_done_or_can_be_done_again_and_sends_nothing",
                ],
            ),
            promise(
                "What another process does at a client while it is restored stays, and the restoration is a conflict",
                &["cuts.rs::another_process_meanwhile_is_a_conflict_and_what_it_did_stays"],
            ),
            promise(
                "From the export on, the source sends nothing, in no process, but for what one has reserved, which the importer skips; the importer's first message is read",
                &["moving.rs::what_a_client_sends_first_on_a_new_device_is_read_and_the_old_one_sends_nothing"],
            ),
            promise(
                "A client that is taken back while it is being moved out is in no archive",
                &["archives.rs::a_client_that_is_taken_back_meanwhile_is_not_in_the_archive_of_its_move"],
            ),
            promise(
                "An archive is imported once into a keep, also if the client was restored or deleted there since, until it was moved 16 times more",
                &[
                    "archives.rs::a_client_that_was_moved_out_goes_on_where_it_was_imported_and_nowhere_else",
                    "archives.rs::an_archive_is_imported_once_however_often_the_client_was_restored_since",
                ],
            ),
            promise(
                "A restored client reads and receives, and sends nothing in a group before it has entered it anew; others' commits and its own do not change that, nor does an external commit that was staged before the backup",
                &[
                    "backups.rs::a_restored_client_reads_and_receives_and_sends_nothing_before_it_has_entered_anew",
                    "backups.rs::a_commit_that_was_staged_before_the_backup_takes_no_mark_off",
                    "backups.rs::an_external_commit_that_was_staged_before_the_backup_is_not_the_way_back",
                    "backups.rs::one_old_backup_restored_ten_times_is_one_client_that_sends",
                ],
            ),
            promise(
                "A restored client says which groups it must enter anew, and who can let it in, also without the secrets of groups",
                &[
                    "backups.rs::a_restored_client_knows_whom_to_ask",
                    "backup_and_move.rs::a_restored_client_lists_its_groups_and_whom_to_ask",
                ],
            ),
            promise(
                "A backup without the secrets of groups has none of them",
                &["secrets.rs::a_backup_without_the_secrets_of_groups_has_none_of_them"],
            ),
            promise(
                "Every flipped bit, truncation and extension of an archive is refused, a wrong key is distinguished from damage, and a hostile header costs nothing",
                &[
                    "archives.rs::every_flipped_bit_truncation_and_extension_is_refused",
                    "archives.rs::a_wrong_key_is_distinguished_from_damage_and_a_newer_format_from_both",
                ],
            ),
            promise(
                "A full disk ends a backup and a move with nothing changed; a client whose last bytes could not be written stays fenced, and is written again or reclaimed",
                &["archives.rs::a_full_disk_ends_a_backup_and_a_move_with_nothing_changed"],
            ),
            promise(
                "On a disk that is full, the program leaves neither half an archive nor a temporary file, and no client; with room the same command restores it, on every local adapter",
                &[
                    "full_disk.rs::a_backup_and_a_move_onto_a_full_disk_leave_nothing_there",
                    "full_disk.rs::a_restoration_and_a_move_onto_a_full_disk_are_done_again_when_there_is_room",
                ],
            ),
            promise(
                "Archives of version 1 of the format open, for ever",
                &["golden_archives.rs::the_golden_archives_open"],
            ),
        ],
        note: "One archive that is imported into two keeps is two clients that send under the same keys: no program can see both. `docs/backup-and-move.md` says what follows from that.",
    },
    Section {
        title: "Delivery services",
        promises: &[
            promise(
                "Members who stage commits at once, in any order of delivery, with lost replies and kills, end in the same epoch; a member that merges early is found",
                &[
                    "commits.rs::members_who_commit_at_once_end_in_the_same_epoch",
                    "commits.rs::a_member_who_merges_early_is_found",
                ],
            ),
            promise(
                "Members who lose letters for good or are removed, and enter again by external commits, in any order, end as members in the same epoch, once each, and no key is used twice; one that confirms its entry early is found, and one that goes on from a copy",
                &[
                    "entries.rs::members_who_fell_out_and_enter_again_end_in_the_same_epoch",
                    "entries.rs::a_member_who_enters_early_or_goes_on_from_a_copy_is_found",
                ],
            ),
            promise(
                "A staged commit changes nothing until it is confirmed, is there after a restart, and leaves no trace when it is rejected; its Welcome stays in the outbox until it is delivered",
                &[
                    "staged.rs::a_staged_commit_changes_nothing_until_it_is_confirmed",
                    "staged.rs::a_rejected_commit_leaves_no_trace",
                    "blocks.rs::a_welcome_stays_in_the_outbox_after_its_commit_was_taken",
                ],
            ),
            promise(
                "A member that lost a commit enters again, by an external commit or by a Welcome, and keeps its history",
                &[
                    "entry.rs::a_member_that_lost_a_commit_gets_back_in_and_keeps_its_history",
                    "entry.rs::a_welcome_replaces_an_old_state_only_when_it_is_asked_to",
                ],
            ),
            promise(
                "What is kept to recognise messages does not grow with the messages",
                &["history.rs::a_message_that_arrives_again_is_recognised_however_late"],
            ),
            promise(
                "A Welcome to a key package of last resort is joined by once, also after its group was left or forgotten",
                &[
                    "adversary.rs::a_welcome_to_a_last_resort_is_not_joined_again_after_the_group_was_forgotten",
                    "adversary.rs::a_welcome_to_a_last_resort_is_not_joined_again_after_a_removal",
                    "adversary.rs::an_older_welcome_to_a_last_resort_replaces_no_newer_state",
                ],
            ),
            promise(
                "A commit that another process has confirmed is confirmed here, too, and an old entry brings no group back",
                &[
                    "adversary.rs::a_commit_that_another_process_has_confirmed_is_not_damage",
                    "adversary.rs::an_entry_that_another_process_has_confirmed_is_not_damage",
                ],
            ),
            promise(
                "A signature key can stay in an enclave or an HSM: neither the store nor an archive has it",
                &[
                    "signers.rs::a_client_signs_with_a_key_that_is_not_in_the_store",
                    "signers.rs::archives_carry_no_signature_key_and_the_signer_is_given_again",
                ],
            ),
            promise(
                "A client of a thousand groups stays within the memory that it is given",
                &[
                    "memory.rs::a_client_of_a_thousand_groups_stays_within_its_bound",
                    "memory.rs::a_client_that_sends_in_a_thousand_groups_stays_within_its_bound",
                ],
            ),
            promise(
                "What an external signer does wrong reaches nobody and changes nothing, and its public key is forgotten only when nothing needs it",
                &[
                    "signers.rs::what_a_signer_does_wrong_reaches_nobody_and_changes_nothing",
                    "signers.rs::what_nothing_signs_with_any_more_is_forgotten",
                ],
            ),
            promise(
                "A client hears that another process has changed it",
                &["elsewhere.rs::an_application_hears_that_its_extension_has_received"],
            ),
            promise(
                "A suspended client holds no file, lock or thread of its store, takes over what another process did meanwhile, and goes on from nothing older than it left",
                &[
                    "suspend.rs::a_suspended_client_holds_nothing_of_its_store_and_goes_on_behind_another_process",
                    "suspend.rs::an_older_state_that_was_put_in_place_meanwhile_is_refused_until_the_newest_is_back",
                    "suspend.rs::what_waited_is_saved_and_nothing_is_skipped_when_the_process_is_killed_while_it_is_suspended",
                ],
            ),
            promise(
                "What is stored of a client can be read while it is being used, and nothing older is shown than before",
                &[
                    "reader.rs::what_is_stored_is_read_while_the_client_is_being_used",
                    "reader.rs::nothing_older_is_shown_than_was_shown_before",
                ],
            ),
            promise(
                "An application's records go with what is sent and received, or not at all",
                &[
                    "blocks.rs::an_application_writes_its_records_with_what_is_sent_and_received",
                    "blocks.rs::records_go_with_a_commit_of_ones_own_that_comes_back_and_with_what_was_held",
                ],
            ),
        ],
        note: "",
    },
    Section {
        title: "Forward only",
        promises: &[
            promise(
                "A client that is open never takes over an older root, or one that was made from an older one (as far as 17 commits back): `RolledBack`, and nothing is sent",
                &[
                    "forward_only.rs::a_client_does_not_follow_its_store_back",
                    "forward_only.rs::a_client_does_not_follow_its_store_onto_another_branch",
                    "rollback.rs::a_running_client_never_follows_its_store_back",
                    "rollback.rs::a_running_client_does_not_follow_another_one_that_went_on_from_an_older_state",
                    "rollback.rs::a_running_client_never_follows_a_file_of_sqlite_back",
                    "rollback.rs::a_running_client_never_follows_a_file_of_the_file_adapter_back",
                ],
            ),
            promise(
                "A client that was deleted and made again elsewhere is another one: `NotFound`",
                &[
                    "forward_only.rs::a_client_that_was_made_again_is_another_one",
                    "rollback.rs::a_client_that_was_deleted_and_made_again_is_another_one",
                ],
            ),
            promise(
                "What was said of a commit stays true however late it lands, at every later call, on an atomic backend and on four methods",
                &[
                    "forward_only.rs::what_was_said_of_a_commit_stays_true_however_late_it_lands",
                    "forward_only.rs::a_late_first_commit_makes_no_client",
                    "late.rs::what_was_said_of_a_late_commit_of_an_atomic_backend_stays_true",
                    "late.rs::what_was_said_of_a_late_commit_of_four_methods_stays_true",
                    "late.rs::what_was_said_of_a_late_save_or_delete_of_four_methods_stays_true",
                ],
            ),
            promise(
                "What an opening shows survives power loss: after a kill at any system call, after a failed flush, and after both",
                &[
                    "power_loss.rs::what_an_opening_after_a_kill_has_shown_survives_power_loss",
                    "power_loss.rs::what_an_opening_after_a_failed_flush_has_shown_survives_power_loss",
                    "power_loss.rs::what_an_opening_after_a_failed_flush_and_a_kill_has_shown_survives_power_loss",
                    "power_loss.rs::the_model_finds_what_is_known_to_be_lost_after_a_kill_or_a_failed_flush",
                ],
            ),
            promise(
                "Garbage is remembered until it is deleted, also a list that is too long for the root",
                &[
                    "forward_only.rs::garbage_is_remembered_until_it_is_deleted",
                    "forward_only.rs::a_client_that_stays_open_deletes_what_could_not_be_deleted_before",
                ],
            ),
            promise(
                "The deletion of a client that was cut anywhere is completed by a repeated call",
                &["forward_only.rs::a_deletion_that_was_cut_anywhere_is_completed_by_a_repeated_call"],
            ),
            promise(
                "Two processes that open an empty store at once get the same keep",
                &["processes.rs::two_processes_that_open_an_empty_store_at_once_get_the_same_keep"],
            ),
            promise(
                "Two processes of which one changes the keep's header both go on",
                &["tests.rs::both_go_on_when_one_process_gives_the_keep_a_new_root_key"],
            ),
            promise(
                "Damage of the files of SQLite, plain files and redb is noticed, or changes nothing that is read; sled may show an older state",
                &[
                    "corruption_on_disk.rs::damage_of_a_file_of_sqlite_is_noticed",
                    "corruption_on_disk.rs::rows_of_sqlite_that_another_program_has_changed_are_noticed",
                    "corruption_on_disk.rs::damage_of_a_file_of_the_file_adapter_is_noticed",
                    "corruption_on_disk.rs::damage_of_a_file_of_redb_is_noticed",
                    "corruption_on_disk.rs::damage_of_a_file_of_sled_gives_a_state_that_was",
                ],
            ),
            promise(
                "A file that somebody else has touched, in any of 74 (SQLite), 56 (plain files), 33 (redb) and 33 (sled) ways, is refused with a clear kind or without effect, in bounded time and memory",
                &[
                    "main.rs::whatever_was_changed_is_refused_or_has_no_effect",
                    "hostile.rs::what_somebody_else_has_touched_is_refused_or_has_no_effect",
                ],
            ),
        ],
        note: "The rules are in docs/architecture.md. They hold as far as one process can see; what a process that starts anew cannot see stands above.",
    },
    Section {
        title: "SQLite, plain files, redb and sled",
        promises: &[
            promise(
                "A process that is killed at any moment has everything that it acknowledged, and goes on with its peers in both directions",
                &["crash.rs::a_killed_client_has_all_that_was_acknowledged"],
            ),
            promise(
                "A kill, an I/O error or a full disk at any system call that writes loses nothing that was acknowledged: in every operation, while a store is made, and while one is opened after a kill",
                &[
                    "syscalls.rs::an_operation_survives_a_fault_at_every_call_that_writes",
                    "syscalls.rs::a_store_can_be_made_again_after_a_fault_at_every_call_that_writes",
                    "syscalls.rs::opening_after_a_kill_survives_a_fault_at_every_call_that_writes",
                ],
            ),
            promise(
                "An acknowledged commit survives power loss at any moment, on a medium that honours flushes and may lose, tear or reorder what was not flushed",
                &["power_loss.rs::an_acknowledged_commit_survives_power_loss_where_that_is_promised"],
            ),
            promise(
                "The model of power loss finds what is known to be lost: SQLite with a rollback journal and FULL, files and directories without their flush, sled as it is; and nothing with EXTRA",
                &["power_loss.rs::the_model_finds_what_is_known_to_be_lost"],
            ),
            promise(
                "A full or read-only disk is reported, and nothing that was acknowledged is lost; with room again it goes on",
                &["full_disk.rs::a_full_or_read_only_disk_is_told_and_loses_nothing"],
            ),
            promise(
                "Every case of the conformance suite that their promises ask for",
                &["suite.rs::every_case_is_a_test"],
            ),
            promise(
                "A keep is copied from one to any other without its key; a copy that was interrupted anywhere is completed by the next run",
                &[
                    "stores.rs::a_keep_goes_once_around_all_kinds",
                    "copy.rs::a_copy_that_fails_at_any_call_is_completed_by_the_next_run",
                ],
            ),
        ],
        note: CRASHES,
    },
    Section {
        title: "SQLite",
        promises: &[
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
                "A full or read-only disk is reported, and nothing is lost",
                &[
                    "durability.rs::a_medium_that_is_full_or_read_only_is_refused",
                    "durability.rs::no_space_is_told_and_passes",
                ],
            ),
            promise(
                "A COMMIT that fails is an unknown outcome, unless a lock or a full disk stopped it and the log shows that it is not there",
                &["durability.rs::a_failed_flush_is_an_unknown_outcome"],
            ),
            promise(
                "A schema that is changed while the store is open is noticed by the next call",
                &["main.rs::a_schema_that_changes_under_a_running_backend_is_noticed"],
            ),
            promise(
                "What the log holds is written again and flushed before the first answer",
                &[
                    "opening.rs::what_the_log_holds_is_rewritten_and_flushed_before_the_first_answer",
                    "opening.rs::an_opening_whose_flush_fails_shows_nothing_and_leaves_the_log",
                ],
            ),
            promise(
                "A database of another program, and what is no database, is refused and stays as it is",
                &["refuses.rs::the_database_of_another_program", "refuses.rs::what_is_no_database"],
            ),
        ],
        note: "",
    },
    Section {
        title: "Plain files",
        promises: &[
            promise(
                "A record of the log that is cut anywhere was never there; damage before the end is `Corrupt`",
                &["refuses.rs::a_record_that_is_cut_anywhere_was_never_there", "refuses.rs::damage_is_corrupt"],
            ),
            promise(
                "One holder at a time; the lock goes with its process",
                &["refuses.rs::a_second_holder_is_busy_and_the_lock_goes_with_the_first"],
            ),
            promise(
                "The files can be read by their owner only, and links are not followed",
                &["refuses.rs::only_the_owner_can_read_the_files_and_links_are_not_followed"],
            ),
            promise(
                "A directory of something else or of a newer version stays as it is",
                &[
                    "refuses.rs::a_directory_of_something_else_stays_as_it_is",
                    "refuses.rs::a_newer_version_stays_as_it_is",
                ],
            ),
        ],
        note: "",
    },
    Section {
        title: "redb",
        promises: &[
            promise(
                "What a kill left half made is made anew, and a repair is reported and loses nothing",
                &[
                    "refuses.rs::what_a_kill_left_half_made_is_made_anew",
                    "refuses.rs::a_repair_is_told_and_loses_nothing",
                ],
            ),
            promise("One holder at a time", &["refuses.rs::a_second_holder_is_busy"]),
            promise(
                "`compact` gives space back and keeps what is there",
                &["refuses.rs::compact_gives_space_back_and_keeps_what_is_there"],
            ),
            promise("The file can be read by its owner only", &["refuses.rs::only_the_owner_can_read_the_file"]),
            promise(
                "A database of another program or of a newer version stays as it is",
                &["refuses.rs::the_database_of_another_program_and_a_newer_version"],
            ),
        ],
        note: "Deleted bytes stay in the file until their pages are used again.",
    },
    Section {
        title: "sled",
        promises: &[
            promise(
                "A snapshot that a kill left half written is removed, and a store that was left half made is made anew",
                &[
                    "refuses.rs::a_snapshot_that_a_kill_left_half_written_is_removed",
                    "refuses.rs::what_a_kill_left_half_made_is_made_anew",
                ],
            ),
            promise("Only the owner can enter the directory", &["refuses.rs::only_the_owner_can_enter_the_directory"]),
            promise(
                "A directory of another program or of a newer version stays as it is",
                &["refuses.rs::the_directory_of_another_program_and_a_newer_version"],
            ),
        ],
        note: "Power loss is survived because the adapter flushes sled's files itself. **Not promised**: sled cuts a damaged log off silently, and the client then goes on from an older state. After a failed write a call may hang. Deleted bytes stay in its files.",
    },
    Section {
        title: "S3",
        promises: &[
            promise(
                "A fault of the service or of the way to it at any one request of a commit, before or after it took effect, is survived: applied once",
                &["faults.rs::a_fault_that_passes_is_survived", "faults.rs::silence_is_survived"],
            ),
            promise(
                "One that stays ends the commit in bounded time, as not applied or as `OutcomeUnknown`; a refusal that would be repeated is said at once",
                &["faults.rs::a_fault_that_stays_is_told", "refuses.rs::what_a_service_says_is_passed_on"],
            ),
            promise(
                "An answer that does not end is broken off before it fills the memory; a listing that does not move on is refused",
                &[
                    "faults.rs::an_answer_without_end_is_broken_off",
                    "versions.rs::a_listing_of_versions_that_does_not_move_on_is_refused",
                ],
            ),
            promise(
                "A writer whose answer was lost is told Ok or `Conflict`, also when up to 64 commits of others are on top of its own; its own success is no conflict for it",
                &[
                    "faults.rs::a_lost_answer_is_found_under_the_commits_of_others",
                    "faults.rs::its_own_success_is_no_conflict",
                ],
            ),
            promise(
                "Of two writers that meet at any pair of requests exactly one wins",
                &["faults.rs::two_writers_that_meet_anywhere"],
            ),
            promise(
                "A commit of a small group is one request, of a large one two round trips",
                &[
                    "requests.rs::a_commit_of_a_small_group_is_one_request",
                    "requests.rs::a_commit_of_a_large_group_is_two_round_trips",
                ],
            ),
            promise(
                "Nothing is written to a service that does not look at the conditions of a write; it can be read",
                &["refuses.rs::a_service_that_looks_at_no_conditions", "refuses.rs::a_refused_service_can_be_read"],
            ),
            promise(
                "One that compares first and writes later is found by the conformance suite, not by that look",
                &["refuses.rs::a_service_whose_conditional_writes_race_is_found"],
            ),
            promise(
                "Old versions are deleted right after they are replaced, or counted, as configured; also if versioning is switched on or suspended later",
                &[
                    "versions.rs::versioning_that_is_switched_leaves_nothing",
                    "versions.rs::purged_versions_are_gone",
                    "versions.rs::versions_that_stay_are_counted_and_can_be_purged",
                ],
            ),
            promise(
                "No credential stands in an error or an output",
                &["refuses.rs::credentials_that_may_not_write", "stores.rs::a_keep_in_a_bucket"],
            ),
            promise(
                "A `send` of the program whose outcome is not known ends with the message's file, or with \"it was not done\"",
                &["bucket.rs::a_message_of_unknown_outcome_is_found_in_the_outbox"],
            ),
            promise(
                "A command asks the service at most 6 times, 5 with the client named, if one has written within a day",
                &["bucket.rs::a_command_asks_for_little", "requests.rs::the_service_is_looked_at_once"],
            ),
            promise(
                "What is reported of a commit holds in any mixture of 409, 412, 500, 503, cut connections and answers, and writes that land late",
                &["attacks.rs::what_is_told_holds_in_any_mixture_of_faults"],
            ),
            promise(
                "A write that the network holds back takes the place of no later one, and a deletion takes no node that counts",
                &[
                    "attacks.rs::a_save_that_lands_late_changes_nothing",
                    "attacks.rs::a_deletion_that_lands_late_takes_no_node",
                ],
            ),
            promise(
                "An answer that stops coming ends an attempt; an object that comes cut is asked for again, and never passes for a shorter one",
                &[
                    "attacks.rs::an_answer_that_stops_coming_is_the_end_of_an_attempt",
                    "attacks.rs::an_object_that_comes_cut_is_asked_for_again",
                    "object.rs::damage_is_told_and_never_panics",
                ],
            ),
            promise(
                "A policy that forbids deleting, or listing, loses nothing",
                &["attacks.rs::a_policy_that_forbids_deleting_or_listing_loses_nothing"],
            ),
            promise(
                "ETags may be anything that differs; a service whose ETags repeat is refused",
                &["attacks.rs::etags_that_are_no_digests_are_taken", "attacks.rs::etags_that_repeat_are_refused"],
            ),
            promise(
                "Purging deletes versions of the store's objects only",
                &["attacks.rs::purging_leaves_what_others_keep"],
            ),
            promise(
                "Archives and imports, cut at every request: all or nothing, and never two that can send",
                &[
                    "cuts.rs::a_restoration_that_is_cut_anywhere_leaves_all_or_nothing",
                    "cuts.rs::a_replacement_that_is_cut_anywhere_leaves_the_old_client_or_the_restored_one",
                    "cuts.rs::of_a_client_that_moves_never_two_can_send_and_never_none",
                    "cuts.rs::an_import_that_is_cut_anywhere_is_done_or_can_be_done_again_and_once",
                    "import.rs::an_import_into_a_bucket_that_is_cut_at_any_request_is_made_again",
                ],
            ),
            promise(
                "A listing waits for deletions below its prefix that began before it, and for no others; a deletion that panics is over",
                &[
                    "requests.rs::a_listing_waits_for_what_it_lists_and_is_made_once",
                    "pending.rs::what_begins_later_is_not_waited_for",
                    "pending.rs::a_deletion_that_panics_is_over",
                ],
            ),
        ],
        note: "Durability is the service's. A service whose conditional writes race is found with a probability: racing cases go on until racers have met 40 times, or to a bound. Of twenty runs against one that compares first and writes later, `one_winner_among_backends`, `increments_among_backends_add_up` and `racing_writers_on_two_backends` each found it in twenty; moto, which does that as it starts by itself, was found in two runs of six of the whole suite. A deletion has no condition: one that the network holds back until its key is saved again takes what is there then; a keep never saves a key again that it has deleted, but copying a store back to where it was deleted does. A crash between the requests of a commit leaves objects that no root names, which the next opening of the client collects, and in a versioned bucket old versions, which `purge_old_versions` deletes.",
    },
];

/// What the crash tests found, as measured.
const CRASHES: &str = "\
As measured, with real MLS operations, on ext4 and Linux:

| | SQLite | plain files | redb | sled |
|---|---|---|---|---|
| random kills, all survived (`MLS_KEEP_KILLS=1000 cargo test -p integration-tests --test crash`) | 1000 | 1000 | 1000 | 1000 |
| of these in the middle of an operation | 733 | 698 | 739 | 728 |
| states of the disk after power loss, short form (`cargo test -p integration-tests --test power_loss`) | 924 | 152 | 776 | 276 |
| the same after a kill and an opening | 6,733 | 485 | 988 | 543 |
| the same after a failed flush, a kill and an opening | 2,244 | 240 | 479 | 361 |
| the same after a failed flush and an opening | 3,866 | 413 | 1,517 | 488 |
| of these with a lost commit, or behind what the opening had shown | 0 | 0 | 0 | 0 |
| faults at system calls while a store is made (`cargo test -p integration-tests --test syscalls`), all survived | 156 | 105 | 120 | 133 |
| the same in operations | 339 | 252 | 402 | 268 |
| the same while a store is opened after a kill | 237 | 315 | 459 | 468 |

The controls, which have to lose: SQLite with a rollback journal and `FULL` lost a commit in 8 of 788 states, and with `EXTRA` in none of 779; files
without their flush in 537 of 701, without the flush of their directory in 72 of 145; sled without the adapter's flush in 937 of 1116.

The replay found defects before they were released: the files' signature was taken for that of something else when its bytes were still zeros, or cut by an
opening that signed again; a sled directory that was cut off while it was made could not be opened; and SQLite, when the flush failed that switches to the
write-ahead log, worked on with a rollback journal. Power itself was not cut: this is a model of a disk, not a disk.";
