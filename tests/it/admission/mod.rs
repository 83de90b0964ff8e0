//! Who may come in, what they may do, and how much: mechanisms and their order, rules, bans, limits and rates, and those who try to get around them.

mod announced;
mod bans;
mod bounds;
mod certificates;
mod hook;
mod hostile;
mod limits;
mod newcomers;
mod passwords;
mod reload;
mod rules;
mod secrets;
mod shared;
mod tokens;
