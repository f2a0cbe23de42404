// SPDX-License-Identifier: Apache-2.0

// Package task moves a flow from its first application to the moment when everything it leased is given back.
//
// A flow is one sender, one receiver and one task. Two questions tell its ends apart. Who asks? In a placement the
// sender does, with STORAGE_APPLY, and in a fetch the receiver, with GAIN_APPLY; the other end grants. Who sends? The
// rest is the same for all four, so one table serves them. Each end keeps a Flow and feeds it events; Step moves it and
// answers with actions for the shell: what to do to its own accounts, and what to send. Nothing here knows a clock or a
// socket.
//
// The conversation without mishaps, in a placement:
//
//	asker, sends                            grantor, receives
//	Ask        hold    APPLY  ───────────▶  Applied    hold, AGREE
//	Agreed     adjust         ◀───────────             (or REFUSE: nothing is held there)
//	Begun              BEGIN  ───────────▶  Begun      extend
//	                   data   ───────────▶
//	Received                  ◀─ COMPLETE   Received   the run is verified
//	… until no granted run is open …
//	           give back                               give back
//
// Every cell below says what happens in that state (columns) on that event (rows), as actions → next state; "·" is the
// same state without an action, "!" is impossible: the peer broke the protocol, or the shell called the wrong event.
//
//	event       idle              asking                 leased              renewing            waiting        closed
//	Ask         hold,apply→asking !                      apply→renewing      !                   !              !
//	Applied     grant→leased      !                      grant→leased        !                   !              refuse
//	Agreed      ·                 adjust,extend→leased   ·                   adjust,extend→leased !             ·
//	Refused     ·                 give-back,retry→waiting ·                  →leased             ·              ·
//	Begun       late              late                   extend              extend              late           abort
//	Received    late              late                   extend              extend              late           abort
//	RunFailed   ·                 ·                      requeue             requeue             ·              ·
//	RunAborted  ·                 ·                      requeue             requeue             ·              ·
//	Scaled      ·                 ·                      extend,revise       extend,revise       ·              ·
//	Revised     ·                 ·                      adjust,extend       adjust,extend       ·              ·
//	Due         ·                 ·                      ·                   ·                   →idle          ·
//	Expired     ·                 end,abort→closed       end,abort→closed    end,abort→closed    ·              ·
//	Aborted     →closed           end→closed             end→closed          end→closed          →closed        ·
//	Stop        abort→closed      end,abort→closed       end,abort→closed    end,abort→closed    abort→closed   ·
//	Lost        →closed           end→closed             end→closed          end→closed          →closed        ·
//
// What the short words stand for:
//
//   - grant: hold (or adjust what is held) and send AGREE; where too little is free, or the shell gave a reason, send REFUSE
//     and stay. An application that repeats what was granted gets the same AGREE and changes nothing; one for no run under a
//     lease that stands changes its rate, and not how long it lasts.
//   - extend: the lease lasts three times as long as what is still open should take, from now.
//   - Begun and Received: the end where it happened tells the other, with BEGIN or COMPLETE; a repeated one changes nothing.
//     When the last open run is received, failed or aborted, a leased flow gives back and is idle; a renewing one waits
//     for its answer, since more is coming.
//   - late: the message crossed one that settled its run here, and changes nothing; about any other run it is "!".
//   - Agreed: runs that were asked for and neither granted nor had there are queued again. A renewing flow may find that
//     its first lease drained meanwhile and was given back at the other end; the AGREE then carries a new lease.
//   - Refused: as told for busy and in-flight. Had there already: give back, idle. Anything else: give back, closed. A
//     renewing flow with open runs is leased again whatever the reason.
//   - Scaled and Revised: the lease is smaller at this end, or at the other, which said so with REVISE, since an account shrank
//     or others have a better use for a part of it. An asker for which that is so while it waits says so when it is answered.
//     A lease that was scaled to nothing ends.
//   - end: give back, and queue again every run that was asked for or granted and is not there yet.
//   - "!" from a peer ends the flow with ABORT (protocol); "!" from the shell changes nothing. Both return an error.
//
// A closed flow stays closed: whoever wants to go on opens another, with a new number. It answers late messages with
// the reason for which it closed, so that the other end stops too, and no answer of a closed flow causes another.
//
// Because Hold is issued only by a flow that holds nothing, and every way out of asking, leased and renewing gives
// back, what a flow holds is given back exactly once, whatever happens in whatever order.
package task
