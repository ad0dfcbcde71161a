def best(players):  # seam
    return max(players, key=lambda player: player["score"])


def teams(players):  # seam
    return sorted(players, key=lambda player: player["team"])


def nicknames(players):  # seam
    return list(map(lambda player: player["nick"].upper(), players))  # noqa: C417
