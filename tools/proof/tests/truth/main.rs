//! Roots of a real chain of every fork, against those that the consensus specification's own code
//! gave them; and what becomes of them when bytes change.

mod chain;
mod damage;
mod roots;
