/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The four scripts that run in the engine, always by EVAL: the text is constant, and all that
 * differs is a key or an argument, so nothing can be injected.  Strings are binary, and numbers
 * decimal.
 *
 *            keys (in this order)            arguments
 *   CLAIM    slot, result under the token    token, lease in ms, rejoin (0 or 1),
 *            joined before, or the own one   the longest frame that is of use
 *   PUBLISH  slot, result under the token    token, frame, linger in ms, inbox prefix, budget
 *   RENEW    slot                            token, lease in ms
 *   DROP     slot                            token, or empty to forget; inbox prefix
 *
 *            replies
 *   CLAIM    {'L'}: the caller leads; {'W', token, ms}: it waits for that leader, whose lease ends
 *            in so many ms; {'V', frame}: the result under the token that it had joined, or, where
 *            that is too long, a frame that says so
 *   PUBLISH  how many waiters were told; 0 also: an earlier try has published; -1: refused
 *   RENEW    1, or 0: the slot is not the token's
 *   DROP     1, or 0: there is no slot, or it is not the token's
 *
 * An inbox prefix is the inbox's name without its last PROCESS_LEN bytes.
 *
 * A push is a message of the token that it is for and a letter, and of V the frame:
 *
 *   V  the result                    G  there is a result, too long for a push: claim again
 *   X  the leader has given up       F  to a leader: its flight was forgotten
 *
 * Joining and being in the list is one step, as is publishing and removing the slot: whoever
 * comes after the publish finds no slot, and reads no result, which has another name.
 */
#ifndef SFLIGHT_FLEET_SCRIPTS_H
#define SFLIGHT_FLEET_SCRIPTS_H

enum {
    SCRIPT_LINGER_MS = 5000,      /* how long a result is kept for those who have lost its push */
    SCRIPT_INLINE_BUDGET = 65536, /* bytes of all pushes V of a flight together; above it, G */
    SCRIPT_SLOT_LIST_MAX = 131072 /* bytes of a slot from which on no more waiters are added */
};

#define SCRIPT_CLAIM                                                                               \
    "local v=redis.call('GET',KEYS[1])\n"                                                          \
    "local r=ARGV[3]=='1' and redis.call('GET',KEYS[2])\n"                                         \
    "if r then return {'V',#r<=tonumber(ARGV[4]) and r or 'SF1T\\0\\0\\0\\0'} end\n"               \
    "if not v then redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2]) return {'L'} end\n"              \
    "if v:sub(1,32)==ARGV[1] then redis.call('PEXPIRE',KEYS[1],ARGV[2]) return {'L'} end\n"        \
    "if #v<131072 and not v:find(ARGV[1],33,true) then redis.call('APPEND',KEYS[1],ARGV[1]) end\n" \
    "local t=redis.call('PTTL',KEYS[1])\n"                                                         \
    "if t<0 then t=ARGV[2] redis.call('PEXPIRE',KEYS[1],t) end\n"                                  \
    "return {'W',v:sub(1,32),tonumber(t)}"

#define SCRIPT_PUBLISH                                                                             \
    "local v=redis.call('GET',KEYS[1])\n"                                                          \
    "if not v or v:sub(1,32)~=ARGV[1] then return redis.call('EXISTS',KEYS[2])-1 end\n"            \
    "redis.call('DEL',KEYS[1]) local n=math.floor(#v/32)-1\n"                                      \
    "if n>0 then redis.call('SET',KEYS[2],ARGV[2],'PX',ARGV[3])\n"                                 \
    "local m='G' if n*#ARGV[2]<=tonumber(ARGV[5]) then m='V'..ARGV[2] end\n"                       \
    "for i=33,#v,32 do redis.pcall('PUBLISH',ARGV[4]..v:sub(i,i+15),v:sub(i,i+31)..m) end end\n"   \
    "return n"

#define SCRIPT_RENEW                                                                               \
    "if redis.call('GETRANGE',KEYS[1],0,31)==ARGV[1] then\n"                                       \
    "return redis.call('PEXPIRE',KEYS[1],ARGV[2]) end return 0"

#define SCRIPT_DROP                                                                                \
    "local v=redis.call('GET',KEYS[1])\n"                                                          \
    "if not v or (ARGV[1]~='' and v:sub(1,32)~=ARGV[1]) then return 0 end\n"                       \
    "redis.call('DEL',KEYS[1])\n"                                                                  \
    "for i=ARGV[1]=='' and 1 or 33,#v,32 do\n"                                                     \
    "redis.pcall('PUBLISH',ARGV[2]..v:sub(i,i+15),v:sub(i,i+31)..(i==1 and 'F' or 'X')) end\n"     \
    "return 1"

/* A right that only a late PUBLISH needs: of sflight_fleet_check(), with the slot. */
#define SCRIPT_EXISTS "return redis.call('EXISTS',KEYS[1])"

#endif
