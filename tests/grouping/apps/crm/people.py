"""Everything in the database goes through one session."""

from sqlalchemy import ForeignKey, String, create_engine, event, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    email: Mapped[str] = mapped_column(String, primary_key=True)
    name: Mapped[str] = mapped_column(String, unique=True)


class Team(Base):
    __tablename__ = "teams"
    title: Mapped[str] = mapped_column(String, primary_key=True)
    boss: Mapped[str] = mapped_column(ForeignKey("people.email"))


engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
event.listen(engine, "connect", lambda connection, _: connection.execute("pragma foreign_keys=on"))
Base.metadata.create_all(engine)


class Store:
    def save(self, *things):
        with Session(engine) as session:
            session.add_all(things)
            self._flush(session)

    def _flush(self, session):
        session.flush()

    def one(self, statement):
        with Session(engine) as session:
            return session.execute(statement).scalar_one()

    def rows(self, statement, **values):
        with Session(engine) as session:
            return session.execute(text(statement), values).all()


store = Store()


def add(email, name):  # seam
    store.save(Person(email=email, name=name), Person(email="other." + email, name=name))


def add_team(title, boss):  # seam
    store.save(Team(title=title, boss=boss))


def find(email):  # seam
    return store.one(select(Person).where(Person.email == email))


def find_team(title):  # seam
    return store.one(select(Team).where(Team.title == title))


def search(term):  # seam
    return store.rows("select email, nickname from people where name like :term", term=term)


def search_teams(term):  # seam
    return store.rows("select title, boss from groups where title = :term", term=term)


def report(column):  # seam
    return store.rows("select count(*) form people where name = :column", column=column)
