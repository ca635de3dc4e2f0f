//! The lists of the API that are shown whole.

use std::cmp::Ordering;

use super::client::Paged;
use crate::http::dto::{
    Agent, Agents, Operator, Operators, Policies, Policy, Repositories, Repository, Store, Stores,
};

macro_rules! paged {
    ($($list:ident . $items:ident: $item:ident by $order:expr;)*) => {
        $(impl Paged for $list {
            fn take_next(&mut self) -> Option<String> {
                self.next_before.take()
            }

            fn append(&mut self, page: Self) {
                self.$items.extend(page.$items);
                self.next_before = page.next_before;
            }

            fn sort(&mut self) {
                let order: fn(&$item, &$item) -> Ordering = $order;
                self.$items.sort_by(order);
            }
        })*
    };
}

paged! {
    Agents.agents: Agent by |one, other| {
        (&one.name, one.enrolled_at).cmp(&(&other.name, other.enrolled_at))
    };
    Operators.operators: Operator by |one, other| {
        (&one.name, one.created_at).cmp(&(&other.name, other.created_at))
    };
    Policies.policies: Policy by |one, other| one.name.cmp(&other.name);
    Repositories.repositories: Repository by |one, other| one.name.cmp(&other.name);
    Stores.stores: Store by |one, other| one.name.cmp(&other.name);
}
