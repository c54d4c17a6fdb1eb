"""The demo's grammar: sentences about invented video games, in English and Korean, and what they mean.

Two products come from it:

* `train.jsonl` and `heldout.jsonl`, the fine-tuning task: {"input": sentence, "output": meaning representation}, as in
  {"input": "Silent Harbor is a puzzle game from 2014.", "output": "inform(name = Silent Harbor; year = 2014; genres = puzzle)"}
* `document`, the source of an endless stream of pretraining text, which restates facts in many notations, in both languages, so that
  the base model learns to copy. The task's own notation, act(slot = value; slot = value), is never among them.

A document is a list of (piece, weight): the piece is encoded on its own, the weight scales the loss of its tokens.
"""

import argparse
import json
import random
from pathlib import Path

# ---------------------------------------------------------------- words

ADJECTIVES = """Silent Golden Broken Hidden Frozen Crimson Hollow Distant Gentle Ancient Electric Lonely Wandering Velvet Iron
Silver Paper Wooden Burning Sleeping Lucky Tiny Giant Restless Endless Quiet Bright Dark Salty Windy Rusty Curious Brave
Misty Northern Southern Eastern Western Painted Forgotten Lost Wild Secret Amber Purple Green Blue Bitter Sweet Humble
Royal Simple Double Triple Second Final Fallen Rising Turning Flying""".split()
NOUNS = """Harbor Tower Garden River Mountain Engine Lantern Circuit Kingdom Forest Island Prairie Castle Bridge Valley Comet
Planet Orchard Kitchen Library Market Museum Tunnel Village Harvest Winter Summer Autumn Thunder Rain Snow Ember Ash
Feather Anchor Compass Mirror Puppet Robot Dragon Tiger Whale Raven Fox Beetle Sparrow Turtle Knight Pilot Baker Sailor
Painter Gardener Detective Merchant Hunter Keeper Letter Signal Echo Shadow Crown Sword Shield Clock Wheel Train Rocket
Kite Drum Song Dance Story Dream Promise Riddle Journey Voyage Rally Arena Factory Station Crystal Marble Button Thread
Needle Blanket Cactus Clover Maple Willow Tulip Pepper Ginger Honey Lemon Melon Pumpkin""".split()
STUDIO_ENDS = "Studio Works Games Labs Interactive Forge House Collective".split()

KO_ADJECTIVES = """푸른 붉은 조용한 숨은 얼어붙은 마지막 작은 거대한 외로운 잠든 불타는 오래된 낯선 빛나는 검은 하얀 깊은 높은 먼
잃어버린 달콤한 용감한 느린 빠른 차가운 따뜻한 부서진 끝없는 비밀의 황금 은빛 새벽 한밤의 노란 둥근""".split()
KO_NOUNS = """항구 탑 정원 강 산맥 등불 왕국 숲 섬 사막 성 다리 골짜기 혜성 행성 과수원 부엌 도서관 시장 박물관 마을 겨울 여름 가을
천둥 비 눈 불씨 깃털 나침반 거울 인형 로봇 용 호랑이 고래 까마귀 여우 참새 거북 기사 화가 탐정 상인 파수꾼 편지 신호 메아리
그림자 왕관 검 방패 시계 바퀴 기차 로켓 연 북 노래 춤 이야기 꿈 약속 여행 공장 역 수정 구슬 단추 실 담요 선인장 단풍 꿀 호박""".split()
KO_STUDIO_ENDS = "스튜디오 공방 게임즈 소프트 연구소".split()

ONSETS = "b d f g h j k l m n p r s t v z br dr fl gr kr pl st th tr sh".split()
VOWELS = "a e i o u ai ei ou".split()
CODAS = ["", "", "", "l", "n", "r", "s", "m", "k", "x", "th"]
KO_SYLLABLES = """가 나 다 라 마 바 사 아 자 카 타 파 하 고 노 도 로 모 보 소 오 조 코 토 포 호 구 누 두 루 무 부 수 우 주 쿠 투 푸
후 기 니 디 리 미 비 시 이 지 키 티 피 히 네 데 레 메 베 세 에 제 케 테 페 헤 란 델 벨 론 린 칸 탄 센 반 돈 엘 알 솔 룬 밀""".split()

GENRES = {"puzzle": "퍼즐", "racing": "레이싱", "strategy": "전략", "shooter": "슈팅", "platformer": "플랫폼", "adventure": "모험",
          "simulation": "시뮬레이션", "sports": "스포츠", "horror": "공포", "music": "음악", "fighting": "격투", "card": "카드",
          "survival": "생존", "stealth": "잠입"}
PLATFORMS = {"PC": "PC", "Switch": "스위치", "PlayStation": "플레이스테이션", "Xbox": "엑스박스", "Android": "안드로이드",
             "iPhone": "아이폰", "Mac": "맥", "Linux": "리눅스"}
RATINGS = ["excellent", "good", "average", "poor"]
PLAYERS = ["single", "multi", "co-op"]

SLOTS = ["name", "developer", "year", "genres", "platforms", "players", "rating", "hours"]

# Kept out of train.jsonl: every sixth word, and these years and playing times. Half of the held-out rows use them.
HELD_OUT_YEARS = {1988, 1991, 1997, 2003, 2009, 2014, 2018, 2025}
HELD_OUT_HOURS = {7, 13, 24, 38, 46, 59, 62, 75, 81, 90}


class Values:
    """Draws values. `pool` is "all" (pretraining), "seen" (training rows) or "unseen" (words and numbers held out)."""

    def __init__(self, rng: random.Random, pool: str = "all"):
        self.rng, self.pool = rng, pool

    def word(self, words):
        if self.pool == "all":
            return self.rng.choice(words)
        held_out = self.pool == "unseen"
        return self.rng.choice([w for i, w in enumerate(words) if (i % 6 == 5) == held_out])

    def number(self, low, high, held_out):
        numbers = range(low, high + 1)
        if self.pool == "unseen":
            return self.rng.choice(sorted(held_out))
        return self.rng.choice([n for n in numbers if self.pool == "all" or n not in held_out])

    def invented(self, korean):
        rng = self.rng
        if korean:
            return "".join(rng.choice(KO_SYLLABLES) for _ in range(rng.randint(2, 4)))
        name = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3)))
        return (name + rng.choice(ONSETS)[0] + rng.choice("aeiou") + rng.choice(CODAS)).capitalize()

    def title(self, korean):
        rng = self.rng
        adjectives, nouns = (KO_ADJECTIVES, KO_NOUNS) if korean else (ADJECTIVES, NOUNS)
        kind = rng.random()
        if kind < 0.35:
            title = f"{self.word(adjectives)} {self.word(nouns)}"
        elif kind < 0.5:
            a, b = self.word(nouns), self.word(nouns)
            title = f"{a}의 {b}" if korean else f"{a} of {b}"
        elif kind < 0.75:
            title = self.invented(korean)
        else:
            title = f"{self.invented(korean)} {self.word(nouns)}"
        return f"{title} {rng.randint(2, 9)}" if rng.random() < 0.12 else title

    def developer(self, korean):
        rng = self.rng
        nouns, ends = (KO_NOUNS, KO_STUDIO_ENDS) if korean else (NOUNS, STUDIO_ENDS)
        first = self.word(nouns) if rng.random() < 0.5 else self.invented(korean)
        return f"{first} {rng.choice(ends)}"

    def some(self, choices):
        return self.rng.sample(list(choices), 1 if self.rng.random() < 0.65 else 2)

    def record(self, korean, slots):
        draw = {
            "name": lambda: self.title(korean and self.rng.random() < 0.85),
            "developer": lambda: self.developer(korean and self.rng.random() < 0.85),
            "year": lambda: self.number(1985, 2026, HELD_OUT_YEARS),
            "genres": lambda: self.some(GENRES), "platforms": lambda: self.some(PLATFORMS),
            "players": lambda: self.rng.choice(PLAYERS), "rating": lambda: self.rng.choice(RATINGS),
            "hours": lambda: self.number(2, 99, HELD_OUT_HOURS)}
        return {s: draw[s]() for s in SLOTS if s in slots}


# ---------------------------------------------------------------- sentences

def has_final(word):
    """Whether a Korean particle after `word` takes its form for a final consonant."""
    last = word[-1]
    if "가" <= last <= "힣":
        return (ord(last) - ord("가")) % 28 > 0
    return last in "013678" if last.isdigit() else last.lower() not in "aeiouy"


def particle(word, final, open_):
    return word + (final if has_final(word) else open_)


def english(rng, act, r):
    """A sentence for `act` about record `r` (a dictionary of slots)."""
    pick = rng.choice
    genres = " and ".join(r.get("genres", [])) + " " if "genres" in r else ""
    article = "an" if genres.startswith("a") else "a"
    game = f"{article} {genres}game"
    clauses = []
    if "developer" in r:
        clauses.append(pick(["by {0}", "made by {0}", "developed by {0}", "from the studio {0}"]).format(r["developer"]))
    if "year" in r:
        clauses.append(pick(["from {0}", "released in {0}", "that came out in {0}"]).format(r["year"]))
    if "platforms" in r:
        clauses.append(pick(["for {0}", "on {0}", "available on {0}"]).format(" and ".join(r["platforms"])))
    rng.shuffle(clauses)
    tail = []
    if "players" in r:
        tail.append(pick({"single": ["It is for one player", "You play it alone"],
                          "multi": ["You play it against others", "It has a multiplayer mode"],
                          "co-op": ["You play it together with friends", "It has a co-op mode"]}[r["players"]]))
    if "rating" in r and act != "opinion":
        tail.append(pick(["Reviews were {0}", "Critics called it {0}", "Its rating is {0}"]).format(r["rating"]))
    if "hours" in r:
        tail.append(pick(["It takes about {0} hours", "You need {0} hours to finish it", "It lasts {0} hours"]).format(r["hours"]))
    rng.shuffle(tail)
    rest = " ".join([""] + clauses)
    more = "".join(f" {t}." for t in tail)
    name = r.get("name")
    if act == "inform":
        return pick([f"{name} is {game}{rest}.", f"There is {game} called {name}{rest}.", f"{name}, {game}{rest}."]) + more
    if act == "recommend":
        return pick([f"You should try {name}, {game}{rest}.", f"I recommend {name}, {game}{rest}.",
                     f"Why not play {name}, {game}{rest}?"]) + more
    if act == "confirm":
        return pick([f"Do you mean {name}, {game}{rest}?", f"Are you talking about {name}, {game}{rest}?",
                     f"So you mean {game} called {name}{rest}?"]) + more
    if act == "opinion":
        return pick([f"I think {name}, {game}{rest}, is {r['rating']}.", f"{name} is {game}{rest}, and I found it {r['rating']}.",
                     f"In my view {name}, {game}{rest}, is {r['rating']}."]) + more
    if act == "request":
        return pick([f"Do you know {game}{rest}?", f"I am looking for {game}{rest}.", f"Can you find me {game}{rest}?"]) + more
    want = {"developer": ["Who made {0}?", "Which studio developed {0}?"], "year": ["When did {0} come out?", "Which year is {0} from?"],
            "genres": ["What kind of game is {0}?", "Which genre is {0}?"], "platforms": ["Where can I play {0}?", "Is {0} on my console?"],
            "players": ["Can I play {0} with others?", "How many can play {0}?"], "rating": ["Is {0} any good?", "How were the reviews of {0}?"],
            "hours": ["How long does {0} take?", "How many hours does {0} last?"]}
    return pick(want[r["want"]]).format(name)


def korean(rng, act, r):
    pick = rng.choice
    before = []
    if "developer" in r:
        before.append(pick([particle(r["developer"], "이", "가") + " 만든", f"{r['developer']}에서 개발한", f"{r['developer']}의"]))
    if "year" in r:
        before.append(pick([f"{r['year']}년에 나온", f"{r['year']}년에 출시된", f"{r['year']}년"]))
    if "platforms" in r:
        names = [PLATFORMS[p] for p in r["platforms"]]
        both = names[0] if len(names) == 1 else particle(names[0], "과", "와") + f" {names[1]}"
        before.append(pick([f"{both}용", f"{both}에서 하는"]))
    rng.shuffle(before)
    genres = " ".join(GENRES[g] for g in r.get("genres", []))
    game = " ".join(before + ([genres] if genres else []) + ["게임"])
    tail = []
    if "players" in r:
        tail.append(pick({"single": ["혼자 하는 게임이에요", "한 명이 즐깁니다"], "multi": ["여럿이 겨루는 게임이에요", "다른 사람과 대결합니다"],
                          "co-op": ["친구와 협동합니다", "함께 힘을 합치는 게임이에요"]}[r["players"]]))
    word = r.get("rating")
    if word and act != "opinion":
        tail.append(pick(["평가는 ", "평점은 "]) + {"excellent": "훌륭합니다", "good": "좋습니다", "average": "보통입니다", "poor": "나쁩니다"}[word])
    if "hours" in r:
        tail.append(pick(["{0}시간쯤 걸립니다", "끝까지 {0}시간이 필요해요", "플레이 시간은 {0}시간입니다"]).format(r["hours"]))
    rng.shuffle(tail)
    more = "".join(f" {t}." for t in tail)
    name = r.get("name")
    if act == "inform":
        topic = particle(name, "은", "는")
        return pick([f"{topic} {game}입니다.", f"{topic} {game}이에요.", f"{particle(name, '이라는', '라는')} {game}이 있어요."]) + more
    if act == "recommend":
        return pick([f"{game} {particle(name, '을', '를')} 추천합니다.", f"{game} {particle(name, '을', '를')} 해 보세요.",
                     f"{game} {name} 어때요?"]) + more
    if act == "confirm":
        return pick([f"{game} {name} 말씀이신가요?", f"{name}, 그 {game} 말이죠?", f"{game} {particle(name, '이', '가')} 맞나요?"]) + more
    if act == "opinion":
        feel = {"excellent": "훌륭하다고", "good": "좋다고", "average": "보통이라고", "poor": "나쁘다고"}[word]
        return pick([f"{game} {particle(name, '은', '는')} {feel} 생각해요.", f"저는 {game} {particle(name, '이', '가')} {feel} 봐요."]) + more
    if act == "request":
        return pick([f"{game}을 찾고 있어요.", f"{game}을 아시나요?", f"{game} 하나 알려 주세요."]) + more
    want = {"developer": ["{은} 누가 만들었나요?", "{의} 개발사는 어디인가요?"], "year": ["{은} 언제 나왔나요?", "{의} 출시 연도를 알려 주세요."],
            "genres": ["{은} 어떤 장르인가요?", "{은} 무슨 게임인가요?"], "platforms": ["{은} 어디에서 할 수 있나요?", "{은} 제 기기에서 되나요?"],
            "players": ["{은} 몇 명이 하나요?", "{을} 친구와 할 수 있나요?"], "rating": ["{은} 재미있나요?", "{의} 평가는 어때요?"],
            "hours": ["{은} 얼마나 걸리나요?", "{의} 플레이 시간을 알려 주세요."]}
    return pick(want[r["want"]]).format(
        은=particle(name, "은", "는"), 을=particle(name, "을", "를"), 의=name + "의")


# ---------------------------------------------------------------- the task

ACTS = {"inform": 0.3, "recommend": 0.16, "confirm": 0.14, "opinion": 0.14, "request": 0.14, "ask": 0.12}


def situation(rng, values, in_korean):
    """An act and the record it is about."""
    act = rng.choices(list(ACTS), ACTS.values())[0]
    facts = SLOTS[1:]
    if act == "ask":
        return act, {**values.record(in_korean, {"name"}), "want": rng.choice(facts)}
    if act == "request":
        slots = {*rng.sample(["developer", "year", "genres", "platforms", "hours", "players"], rng.randint(2, 3))}
    elif act == "opinion":
        slots = {"name", "rating", *rng.sample(["developer", "year", "genres", "platforms"], rng.randint(1, 2))}
    else:
        slots = {"name", *rng.sample(facts, rng.randint(1, 4))}
    return act, values.record(in_korean, slots)


def as_text(value):
    return ", ".join(value) if isinstance(value, list) else str(value)


def meaning(act, record):
    return f"{act}({'; '.join(f'{slot} = {as_text(value)}' for slot, value in record.items())})"


def task_rows(seed, train=3000, held_out=200):
    rng = random.Random(seed)
    rows, seen = {"train": [], "held-out": []}, set()
    for split, count in (("held-out", held_out), ("train", train)):
        while len(rows[split]) < count:
            in_korean = len(rows[split]) % 2 == 1
            pool = "seen" if split == "train" or rng.random() < 0.5 else "unseen"
            act, record = situation(rng, Values(rng, pool), in_korean)
            sentence = (korean if in_korean else english)(rng, act, record)
            if sentence not in seen:
                seen.add(sentence)
                rows[split].append({"input": sentence, "output": meaning(act, record)})
    return rows["train"], rows["held-out"]


# ---------------------------------------------------------------- pretraining text

KEYS = {"name": ["title", "name", "game", "이름", "제목"], "developer": ["studio", "maker", "developer", "개발사", "제작"],
        "year": ["year", "released", "연도", "출시"], "genres": ["genre", "genres", "kind", "장르", "종류"],
        "platforms": ["platform", "platforms", "system", "기종", "기기"], "players": ["players", "mode", "인원"],
        "rating": ["rating", "score", "reviews", "평가"], "hours": ["hours", "length", "시간"]}
PLAIN_KEYS = """color city owner size food animal number river friend code street song captain metal fruit day room door prize
색 도시 주인 크기 음식 동물 번호 강 친구 암호 거리 노래 선장 금속 과일 요일 방 문 상""".split()
ASSIGN = [": ", " : ", " -> ", " is ", " - ", " => ", " ~ "]
SEPARATE = ["\n", ", ", " | ", " / ", "; ", " and ", " · "]
WRAP = [("", ""), ("", ""), ("", "."), ("{ ", " }"), ("[ ", " ]"), ("< ", " >"), ("* ", "")]
LOW = 0.1  # loss weight of text that cannot be predicted


def notation(rng, pairs):
    """Writes pairs of key and value in a notation drawn at random (never the task's)."""
    assign, separate, (open_, close) = rng.choice(ASSIGN), rng.choice(SEPARATE), rng.choice(WRAP)
    return open_ + separate.join(f"{k}{assign}{v}" for k, v in pairs) + close


def anything(rng, values):
    """Any value: a title, a made-up word, a number, letters and digits mixed, a few words."""
    in_korean = rng.random() < 0.4
    kind = rng.random()
    if kind < 0.35:
        return values.title(in_korean)
    if kind < 0.55:
        return values.invented(in_korean)
    if kind < 0.75:
        return str(rng.randint(0, 10 ** rng.randint(1, 4)))
    if kind < 0.85:
        return "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") for _ in range(rng.randint(3, 7)))
    return values.developer(in_korean)


def key(rng, slot, in_korean):
    return rng.choice([k for k in KEYS[slot] if (k[0] >= "가") == in_korean])


def copying(rng, values):
    pieces = [anything(rng, values) for _ in range(rng.randint(1, 4))]
    joint = rng.choice([" ", ", ", " / ", " | "])
    text = joint.join(pieces)
    rng.random() < 0.3 and rng.shuffle(pieces)
    return [(text + "\n", LOW), (rng.choice([joint, ", ", " "]).join(pieces), 1)]


def recall(rng, values):
    """Pairs, then some of them again in another notation and order."""
    words = rng.sample(PLAIN_KEYS, rng.randint(2, 6))
    pairs = [(w, anything(rng, values)) for w in words]
    again = rng.sample(pairs, rng.randint(1, len(pairs)))
    if rng.random() < 0.5:
        again = pairs
    return [(notation(rng, pairs) + "\n", LOW), (notation(rng, again), 1)]


def extraction(rng, values):
    in_korean = rng.random() < 0.5
    act, record = situation(rng, values, in_korean)
    sentence = (korean if in_korean else english)(rng, act, record)
    keys_in_korean = rng.random() < 0.25
    pairs = [("question" if s == "want" else key(rng, s, keys_in_korean), as_text(v)) for s, v in record.items()]
    return [(sentence + "\n", LOW), (notation(rng, pairs), 1)]


def telling(rng, values):
    """The other way: from a notation to a sentence, or from a sentence to the other language."""
    in_korean = rng.random() < 0.5
    act, record = situation(rng, values, in_korean)
    sentence = (korean if in_korean else english)(rng, act, record)
    if rng.random() < 0.5 or act == "ask":
        source = (english if in_korean else korean)(rng, act, record)
    else:
        source = notation(rng, [(key(rng, s, in_korean), as_text(v)) for s, v in record.items()])
    return [(source + "\n", LOW), (sentence, 0.5)]


def question(rng, values):
    in_korean = rng.random() < 0.5
    slots = rng.sample(SLOTS[1:], rng.randint(2, 4))
    record = values.record(in_korean, {"name", *slots})
    sentence = (korean if in_korean else english)(rng, "inform", record)
    pieces = [(sentence + "\n", LOW)]
    for slot in rng.sample(slots, min(2, len(slots))):
        if in_korean:
            pieces += [(korean(rng, "ask", {"name": record["name"], "want": slot}), 0.3), (as_text(record[slot]) + "\n", 1)]
        else:
            pieces += [(english(rng, "ask", {"name": record["name"], "want": slot}), 0.3), (as_text(record[slot]) + "\n", 1)]
    return pieces


KINDS = {copying: (0.5, 0.10), recall: (0.3, 0.2), extraction: (0.1, 0.46), telling: (0.05, 0.12), question: (0.05, 0.12)}


def document(rng, values, progress):
    """One document. `progress` runs from 0 to 1; early documents are mostly plain copying."""
    ramp = min(1.0, progress / 0.15)
    weights = [(1 - ramp) * first + ramp * last for first, last in KINDS.values()]
    return rng.choices(list(KINDS), weights)[0](rng, values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train", "heldout"), task_rows(args.seed)):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (args.out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
