class Conflict(Exception):
    pass


class Slot:
    def __init__(self, person, day):
        self.person = person
        self.day = day

    def __repr__(self):
        return f"<Slot {self.person} on {self.day}>"


class Calendar:
    def __init__(self):
        self.taken = []

    def take(self, slot):
        if slot.day in ("Saturday", "Sunday"):
            raise Conflict(f"{slot} is at the weekend")
        if slot.person in self.taken:
            raise Conflict(f"{slot} is taken twice")
        self.taken.append(slot.person)


def appointment(person, day):  # seam
    calendar = Calendar()
    calendar.take(Slot(person, day))
    calendar.take(Slot(person, "Monday"))


def holiday(person, day):  # seam
    calendar = Calendar()
    calendar.take(Slot(person, day))
