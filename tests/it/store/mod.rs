//! The Store's contract: every rule is a function that takes a new, empty store. A store joins with one line at the end of this file.

mod kit;

mod cursors; //  of share groups
mod due; //      what is due, to whom, for how long
mod on_redis; // what only the store on Redis has to take care of
mod once; //     messages with numbers, and what is pending
mod queue; //    sequences, acknowledgements, expiry
mod races; //    several at once
mod retained; // retained messages and their pages
mod sessions; // open, close, take-over, older owners
mod wills; //    when a will is due

/// All rules, given to the macro `$then` behind what it gets first.
macro_rules! rules {
    ($then:ident, $store:ident, $make:expr) => {
        $then!($store, $make,
            sessions: [
                a_new_session_has_no_state,
                an_epoch_is_never_used_twice,
                a_session_is_resumed_with_its_state,
                a_clean_start_ends_the_session,
                a_session_of_expiry_zero_has_no_queue,
                a_session_of_expiry_zero_ends_when_it_is_taken_over,
                a_session_resumed_with_expiry_zero_keeps_its_queue_to_the_end,
                an_expired_session_is_as_good_as_purged,
                a_session_without_expiry_never_ends,
                a_close_may_change_the_expiry_but_not_from_zero,
                an_older_owner_changes_nothing,
                a_subscription_replaces_the_one_with_its_selector,
            ],
            wills: [
                at_a_close,
                at_a_take_over,
                of_a_session_that_is_opened_again,
            ],
            due: [
                a_will_is_leased_until_it_is_done,
                an_end_is_leased_until_the_purge,
                a_will_comes_before_the_end,
                an_end_waits_for_the_will,
                a_session_opened_again_is_not_due,
                an_older_lease_ends_nothing,
                a_page_of_due_items_has_a_limit,
            ],
            queue: [
                sequences_grow_by_one_and_are_never_used_twice,
                a_queue_is_read_in_pages,
                only_what_is_granted_more_than_qos_0_is_queued,
                a_grant_is_kept,
                acknowledgements_come_in_any_order,
                a_released_message_is_owed_until_it_is_complete,
                a_received_packet_id_is_held_until_it_is_forgotten,
                nothing_unknown_does_harm,
                a_batch_has_one_answer_for_each_write,
                an_expired_message_is_not_read_unless_it_may_have_been_sent,
                a_take_over_takes_all_that_was_read_as_sent,
                a_close_says_what_was_sent,
                an_expired_session_can_still_be_read,
            ],
            retained: [
                a_retained_message_is_set_replaced_and_removed,
                pages_hold_exactly_what_matches_in_order,
                a_retained_message_expires,
            ],
            cursors: [
                a_cursor_is_leased_in_blocks,
            ],
            races: [
                of_two_that_open_one_is_the_owner,
                appends_go_on_while_a_session_is_taken_over,
                a_due_item_has_one_taker,
                a_purge_and_an_open_agree,
            ],
        );
    };
}

/// A test for each rule.
macro_rules! contract {
    ($store:ident, $make:expr, $($room:ident: [$($rule:ident,)*],)*) => {
        mod $store {
            $(mod $room {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $rule() {
                    if let Some(store) = $make.await {
                        super::super::$room::$rule(store).await;
                    }
                })*
            })*
        }
    };
}

/// A test for each room of rules, where it costs much to begin.
macro_rules! contract_by_rooms {
    ($store:ident, $make:expr, $($room:ident: [$($rule:ident,)*],)*) => {
        mod $store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $room() {
                $(if let Some(store) = $make.await {
                    println!("{}", stringify!($rule));
                    super::$room::$rule(store).await;
                })*
            })*
        }
    };
}

rules!(contract, memory, crate::store::kit::memory());
rules!(contract, redis, crate::store::kit::redis());
rules!(contract_by_rooms, redis_sentinel, crate::store::kit::redis_as(mqttd_tests::deployment::Kind::Sentinel));
rules!(contract_by_rooms, redis_cluster, crate::store::kit::redis_as(mqttd_tests::deployment::Kind::Cluster));
rules!(contract_by_rooms, redis_with_few_rights, crate::store::kit::redis_with_few_rights());
rules!(contract_by_rooms, redis_in_a_container, crate::store::kit::redis_in_a_container());
